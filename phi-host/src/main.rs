//! The `phi-host` command.

use phi_host::{command, linux};
use std::process::ExitCode;

fn main() -> ExitCode {
    // The supervisor starts this same program again for each service.
    if std::env::args_os().nth(1).is_some_and(|word| word == linux::SERVICE_WORD) {
        linux::service_main();
    }
    ExitCode::from(command::main())
}
