//! Who has data, and answers.

use crate::{Bystander, BystanderServer, Nothing};
use phi_idl::Caller;
use phi_rt::{Memory, Service};

const BYTE: u8 = 0x5A;

struct Data(Memory);

/// Serves; returns the exit status.
pub fn main(service: &Service) -> u8 {
    let Ok(mailbox) = service.mailbox("bystander") else { return 2 };
    let Ok(mut memory) = Memory::create(64 << 10) else { return 3 };
    memory.fill(BYTE);
    let _ = phi_idl::serve(&mailbox, &mut BystanderServer(Data(memory)));
    1
}

impl Bystander for Data {
    fn is_unharmed(&mut self, _: Caller) -> Result<bool, Nothing> {
        Ok(self.0.iter().all(|byte| *byte == BYTE))
    }
}
