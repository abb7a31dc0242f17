//! The `phi-host` command.

use phi_host::{bench, command, linux};
use std::process::ExitCode;

fn main() -> ExitCode {
    // The supervisor starts this same program again for each service.
    if std::env::args_os().nth(1).is_some_and(|word| word == linux::SERVICE_WORD) {
        linux::service_main();
    }
    if std::env::args_os().nth(1).is_some_and(|word| word == bench::PEER_WORD) {
        bench::peer_main();
    }
    ExitCode::from(command::main())
}
