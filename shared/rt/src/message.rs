//! Messages on their way out, and messages that have come in.

use crate::lent::{LentBytes, LentBytesMut};
use crate::{Capability, Loan, system};
use core::marker::PhantomData;
use phi_abi::{Error, Grant, Handle, MESSAGE_GRANTS, Message, Mode, Number, Rights};

/// A message was given more than it holds: 64 bytes and 4 capabilities.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLong;

impl core::fmt::Display for TooLong {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a message holds at most 64 bytes and 4 capabilities")
    }
}

impl core::error::Error for TooLong {}

/// A message to send. What it borrows stays borrowed until it has been answered.
#[derive(Debug)]
pub struct Outgoing<'a> {
    message: Message,
    given: [Option<Capability>; MESSAGE_GRANTS],
    lends: bool,
    borrows: PhantomData<&'a ()>,
}

impl<'a> Outgoing<'a> {
    /// A message with `label` and a copy of `bytes`.
    ///
    /// # Errors
    /// [`TooLong`] for more than 64 bytes.
    pub fn new(label: u64, bytes: &[u8]) -> Result<Outgoing<'a>, TooLong> {
        let message = Message::new(label, bytes).ok_or(TooLong)?;
        Ok(Outgoing { message, given: [const { None }; 4], lends: false, borrows: PhantomData })
    }

    /// A message with `label` and nothing else.
    pub fn empty(label: u64) -> Outgoing<'a> {
        let message = Message { label, ..Message::EMPTY };
        Outgoing { message, given: [const { None }; 4], lends: false, borrows: PhantomData }
    }

    /// Gives `capability` away, with all its rights. Needs TRANSFER.
    ///
    /// # Errors
    /// [`TooLong`] for a fifth capability.
    pub fn give(&mut self, capability: Capability) -> Result<(), TooLong> {
        let place = self.message.grant_count as usize;
        let info = capability.inspect().map(|info| info.rights).unwrap_or(Rights::empty());
        self.push(Grant::transfer(capability.handle(), info))?;
        self.given[place] = Some(capability);
        Ok(())
    }

    /// Passes on a copy of `capability` with `rights`. Needs TRANSFER and DERIVE.
    ///
    /// # Errors
    /// [`TooLong`] for a fifth capability.
    pub fn copy(&mut self, capability: &'a Capability, rights: Rights) -> Result<(), TooLong> {
        self.push(Grant::copy(capability.handle(), rights))
    }

    /// Lends memory until the call is answered.
    ///
    /// # Errors
    /// [`TooLong`] for a fifth capability.
    pub fn lend(&mut self, loan: impl Into<Loan<'a>>) -> Result<(), TooLong> {
        self.lends = true;
        self.push(loan.into().grant())
    }

    fn push(&mut self, grant: Grant) -> Result<(), TooLong> {
        if self.message.push(grant) { Ok(()) } else { Err(TooLong) }
    }

    fn gives(&self) -> bool {
        self.given.iter().any(Option::is_some)
    }

    /// What was given has gone, or may have gone: it is not ours to drop any more.
    fn forget_given(&mut self) {
        for capability in self.given.iter_mut().filter_map(Option::take) {
            capability.into_handle();
        }
    }

    pub(crate) fn send(mut self, to: Handle) -> Result<(), Error> {
        assert!(!self.lends, "a loan needs a call");
        system::with_message(Number::Send, [to.0, 0, 0, 0], &mut self.message)?;
        self.forget_given();
        Ok(())
    }

    pub(crate) fn call(mut self, to: Handle, timeout: u64) -> Result<Incoming, Error> {
        let mut message = self.message;
        let result = system::with_message(Number::Call, [to.0, timeout, 0, 0], &mut message);
        match result {
            // These come before the message is delivered: what it was to give is still ours.
            Err(
                error @ (Error::Denied
                | Error::QuotaExceeded
                | Error::Full
                | Error::Busy
                | Error::TooDeep),
            ) => Err(error),
            // These may come before or after: nobody can tell, so what it gave stays undropped.
            Err(error) => {
                self.forget_given();
                Err(error)
            }
            Ok(_) => {
                self.forget_given();
                Ok(Incoming { message })
            }
        }
    }
}

/// A message that has come in: a call to be answered, a sent message, or an answer.
///
/// It owns what came with it. Dropped unanswered, the caller gets `Dead`; capabilities that nobody
/// took are given up, so that no sender can fill this service's table.
#[derive(Debug)]
pub struct Incoming {
    message: Message,
}

impl Incoming {
    /// Takes over a message that a call wrote.
    ///
    /// # Safety
    /// ΦCore wrote the message, and nobody else owns the handles in it.
    pub unsafe fn from_message(message: Message) -> Incoming {
        Incoming { message }
    }

    /// What the message asks or says, in the interface's terms.
    pub fn label(&self) -> u64 {
        self.message.label
    }

    /// Which client, or which object, in this server's own terms.
    pub fn badge(&self) -> u64 {
        self.message.badge
    }

    /// The rights of the capability that the message was sent through.
    pub fn rights(&self) -> Rights {
        Rights::from_bits_retain(self.message.rights)
    }

    /// The inline bytes.
    pub fn bytes(&self) -> &[u8] {
        self.message.bytes()
    }

    /// Whether the sender waits for an answer.
    pub fn is_call(&self) -> bool {
        !self.message.reply.is_null()
    }

    /// How many capabilities came, those included that were taken or revoked on the way.
    pub fn grant_count(&self) -> usize {
        self.message.grants().len()
    }

    /// Takes the capability at `index` out; `None` when there is none, or it is a loan.
    pub fn take(&mut self, index: usize) -> Option<Capability> {
        let grant = self.grant(index).filter(|grant| grant.mode != Mode::Loan as u32)?;
        self.message.grants[index].handle = Handle::NULL;
        // SAFETY: the handle came with the message, and is taken out of it here.
        Some(unsafe { Capability::from_handle(grant.handle) })
    }

    /// The bytes lent at `index`, until the answer; `None` when there are none to read.
    pub fn lent(&self, index: usize) -> Option<LentBytes<'_>> {
        let grant = self.loan(index, Rights::READ)?;
        // SAFETY: ΦCore has mapped the loan for reading until the answer, which takes `self`.
        Some(unsafe { LentBytes::new(grant.address, grant.length) })
    }

    /// The bytes lent at `index` for writing, until the answer; `None` when there are none.
    pub fn lent_mut(&self, index: usize) -> Option<LentBytesMut<'_>> {
        let grant = self.loan(index, Rights::READ | Rights::WRITE)?;
        // SAFETY: ΦCore has mapped the loan for writing until the answer, which takes `self`.
        Some(unsafe { LentBytesMut::new(grant.address, grant.length) })
    }

    /// The handle of what is lent at `index`, if anything is.
    pub(crate) fn lent_handle(&self, index: usize) -> Option<Handle> {
        self.loan(index, Rights::READ).map(|grant| grant.handle)
    }

    fn grant(&self, index: usize) -> Option<Grant> {
        self.message.grants().get(index).copied().filter(|grant| !grant.handle.is_null())
    }

    fn loan(&self, index: usize, rights: Rights) -> Option<Grant> {
        self.grant(index).filter(|grant| {
            grant.mode == Mode::Loan as u32
                && Rights::from_bits_retain(grant.rights).contains(rights)
        })
    }

    /// Answers the call. Its loans end here.
    ///
    /// # Errors
    /// `Dead` when the caller is gone. A capability that the answer gave is then dropped.
    ///
    /// # Panics
    /// When the answer lends, or the message is not a call.
    pub fn reply(mut self, mut answer: Outgoing<'_>) -> Result<(), Error> {
        let reply = self.take_reply(&answer);
        system::with_message(Number::Reply, [reply.0, 0, 0, 0], &mut answer.message)?;
        answer.forget_given();
        Ok(())
    }

    /// Answers the call and waits for the next message, in one step where that is possible.
    pub(crate) fn reply_receive(
        mut self,
        mut answer: Outgoing<'_>,
        mailbox: Handle,
        timeout: u64,
    ) -> Result<(Message, u64), Error> {
        if answer.gives() {
            // Two steps, to know whether the capability went. A caller that is gone wants none.
            let _ = self.reply(answer);
            let mut message = Message::EMPTY;
            let words = [mailbox.0, timeout, 0, 0];
            let value = system::with_message(Number::Receive, words, &mut message)?;
            return Ok((message, value));
        }
        let reply = self.take_reply(&answer);
        // What came with the call is given up first, while its loans still hold.
        drop(self);
        let words = [reply.0, mailbox.0, timeout, 0];
        let value = system::with_message(Number::ReplyReceive, words, &mut answer.message)?;
        Ok((answer.message, value))
    }

    fn take_reply(&mut self, answer: &Outgoing<'_>) -> Handle {
        assert!(!answer.lends, "a loan needs a call");
        assert!(self.is_call(), "nobody waits for an answer");
        core::mem::take(&mut self.message.reply)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        for grant in self.message.grants() {
            system::drop_handle(grant.handle);
        }
        system::drop_handle(self.message.reply);
    }
}
