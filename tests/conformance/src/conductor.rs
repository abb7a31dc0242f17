//! The service that plays the cases.

use crate::cases::SUBJECTS;
use crate::expect::Step;
use crate::play::{Play, Puppet, ROLES};
use alloc::format;
use phi_abi::{Handle, NamedCapability};
use phi_console::ConsoleClient;
use phi_rt::Service;

/// Bytes of text that go to the console in one message.
const INLINE: usize = 63;

/// Plays every case. Status 0 if all passed, 1 if not, 2 without what the manifest must give.
pub fn conductor(service: &Service) -> u8 {
    let Ok(console) = service.peer("console") else { return 2 };
    let console = ConsoleClient::new(console);
    let handle = |name: &str| service.start().find(name).map(|one: &NamedCapability| one.handle);
    let mut puppets = [Puppet { domain: Handle::NULL, orders: Handle::NULL }; ROLES.len()];
    for (puppet, role) in puppets.iter_mut().zip(ROLES) {
        let (Some(domain), Some(orders)) =
            (handle(&format!("domain:{role}")), handle(&format!("{role}-orders")))
        else {
            return 2;
        };
        *puppet = Puppet { domain, orders };
    }
    let Some(events) = handle("events") else { return 2 };
    let wanted = service.arguments().trim();
    let (mut passed, mut failed) = (0, 0);
    let cases = SUBJECTS.iter().copied().flatten();
    for (name, case) in cases.filter(|(name, _)| name.contains(wanted)) {
        let play = Play::new(&puppets, events);
        let result = case(&play);
        let line = match result.and(play.end()) {
            Ok(()) => {
                passed += 1;
                format!("ok  {name}\n")
            }
            Err(reason) => {
                failed += 1;
                format!("FAIL {name}: {reason}\n")
            }
        };
        if print(&console, &line).is_err() {
            return 2;
        }
    }
    if print(&console, &format!("{passed} passed, {failed} failed\n")).is_err() {
        return 2;
    }
    u8::from(failed > 0)
}

/// Prints one line, in as many messages as it takes.
fn print(console: &ConsoleClient, line: &str) -> Step {
    for piece in line.as_bytes().chunks(INLINE) {
        console.write(piece).map_err(|error| format!("the console does not print: {error}"))?;
    }
    Ok(())
}
