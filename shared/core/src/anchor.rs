//! Anchors: where the list of the capabilities to one object hangs.

use phi_abi::Kind;

/// The objects that end when nobody holds a capability to them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Counted {
    Region(u32),
    Mailbox(u32),
    Signal(u32),
    Irq(u32),
    DmaSpace(u32),
    Ports(u32),
}

/// How objects of all kinds share one range of anchors, kind by kind.
#[derive(Clone)]
pub(crate) struct Anchors {
    mailboxes: u32,
    signals: u32,
    irqs: u32,
    dma_spaces: u32,
    ports: u32,
    domains: u32,
    threads: u32,
    console: u32,
    hardware: u32,
    replies: u32,
}

impl Anchors {
    pub(crate) fn new(
        [regions, mailboxes, signals]: [u32; 3],
        [irqs, dma_spaces, ports]: [u32; 3],
        domains: u32,
        threads: u32,
    ) -> Anchors {
        let mut end = regions;
        let mut next = |count: u32| {
            let start = end;
            end += count;
            start
        };
        Anchors {
            mailboxes: next(mailboxes),
            signals: next(signals),
            irqs: next(irqs),
            dma_spaces: next(dma_spaces),
            ports: next(ports),
            domains: next(domains),
            threads: next(threads),
            console: next(1),
            hardware: next(1),
            // Behind all others: there is one reply to a thread at most.
            replies: next(threads),
        }
    }

    /// Number of anchors with any number of capabilities.
    pub(crate) fn shared(&self) -> usize {
        self.replies as usize
    }

    /// Anchors of objects that end with the last capability; they come first.
    pub(crate) fn counted(&self) -> usize {
        self.domains as usize
    }

    pub(crate) fn of(&self, kind: Kind, object: u32) -> u32 {
        match kind {
            Kind::Region => object,
            Kind::Mailbox | Kind::Object => self.mailboxes + object,
            Kind::Signal => self.signals + object,
            Kind::Domain => self.domains + object,
            Kind::Thread => self.threads + object,
            Kind::Reply => self.replies + object,
            Kind::Console => self.console,
            Kind::Irq => self.irqs + object,
            Kind::DmaSpace => self.dma_spaces + object,
            Kind::Ports => self.ports + object,
            Kind::Hardware => self.hardware,
        }
    }

    pub(crate) fn object(&self, anchor: u32) -> Option<Counted> {
        if anchor < self.mailboxes {
            Some(Counted::Region(anchor))
        } else if anchor < self.signals {
            Some(Counted::Mailbox(anchor - self.mailboxes))
        } else if anchor < self.irqs {
            Some(Counted::Signal(anchor - self.signals))
        } else if anchor < self.dma_spaces {
            Some(Counted::Irq(anchor - self.irqs))
        } else if anchor < self.ports {
            Some(Counted::DmaSpace(anchor - self.dma_spaces))
        } else if anchor < self.domains {
            Some(Counted::Ports(anchor - self.ports))
        } else {
            None
        }
    }
}
