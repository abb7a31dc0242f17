//! How a service gets another image while the system runs.
//!
//! A machine offers an image: one of the plan when it is due, or one that it was handed. The service's
//! supervisor learns of it by its events, and the service itself by its signal `hand-over`; the next
//! start takes the image, whoever ended the run before. If the run ends for that sake, because the
//! supervisor stops it or because it has handed over, its mailboxes stay open, as they are before a first
//! start: what is in them waits for the new image. Calls that it had received end with `Dead`.

use crate::{DomainIndex, Kernel, Machine};
use phi_abi::{DomainState, HAND_OVER, STATUS_HANDED_OVER};
use phi_ipc::MailboxState;
use phi_manifest::plan::ImagePlan;

/// What ΦCore has to know of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Image {
    /// What the machine knows it by: [`phi_abi::StartBlock::image`].
    pub number: u64,
    /// Address of its entry.
    pub entry: u64,
    /// Bytes of its writable data.
    pub data: u64,
}

impl Image {
    /// An image of a plan.
    pub fn of_plan(number: u64, plan: &ImagePlan) -> Image {
        Image { number, entry: plan.entry, data: plan.data() }
    }
}

/// Why an image was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OfferError {
    /// `init` keeps its image, and so does what is no service.
    NoService,
    /// With the service's stack, heap and state it needs these bytes, which are more than its quota.
    Memory(u64),
}

impl<M: Machine> Kernel<M> {
    /// Offers an image to a service, in place of one that was offered before. Its window is the
    /// service's, and the machine loads it when a start names its number.
    ///
    /// # Errors
    /// [`OfferError`]; then nothing has changed.
    pub fn offer(&mut self, domain: DomainIndex, image: Image) -> Result<(), OfferError> {
        let index = u32::from(domain.0);
        let held = self.domains.get(usize::from(domain.0)).filter(|_| index > 0);
        let held = held.ok_or(OfferError::NoService)?;
        let needed = held.fixed_memory.saturating_add(image.data);
        if needed > held.quota.memory {
            return Err(OfferError::Memory(needed));
        }
        let supervisor = u32::from(held.supervisor);
        self.domain_mut(index).offered = Some(image);
        self.set_bits(self.domains.len() as u32 + index, HAND_OVER);
        self.set_bits(supervisor, 1 << (index % u64::BITS));
        Ok(())
    }

    /// The number of the image that a domain runs, or ran last.
    pub fn image_of(&self, domain: DomainIndex) -> u64 {
        self.domains.get(usize::from(domain.0)).map_or(0, |held| held.image.number)
    }

    /// The replacement that the plan has for a domain is due.
    pub(crate) fn offer_planned(&mut self, domain: u32) {
        if let Some(image) = self.domain_mut(domain).replacement.take() {
            // A checked plan offers only what fits.
            let _ = self.offer(DomainIndex(domain as u16), image);
        }
    }

    /// Whether a domain has ended to make room for the image that it was offered, so that its mailboxes
    /// stay open.
    pub fn keeps_mailboxes(&self, domain: DomainIndex) -> bool {
        let held = self.domain(u32::from(domain.0));
        let ended = match held.state {
            DomainState::Stopped => true,
            DomainState::Exited(status) => status == STATUS_HANDED_OVER,
            _ => false,
        };
        ended && held.offered.is_some()
    }

    /// A start has failed: the image that it was to take is not tried again, and who has waited for it
    /// hears that nobody comes.
    pub(crate) fn give_image_up(&mut self, domain: u32) {
        if self.domain_mut(domain).offered.take().is_some() && self.domain(domain).generation > 0 {
            self.close_planned_mailboxes(domain);
        }
    }

    /// Has the mailboxes of the plan stay open for the next run of their server, with what waits there.
    pub(crate) fn keep_planned_mailboxes(&mut self, domain: u32) {
        for mailbox in 0..self.mailboxes.len() as u32 {
            let held = self.mailbox(mailbox);
            let own = held.planned && u32::from(held.owner) == domain;
            if own && held.state == MailboxState::Open {
                self.unbind_from(mailbox);
            }
        }
    }
}
