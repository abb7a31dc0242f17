//! The service `pinger`: pings whoever has the address [`PEER`] at the other side of the card, and sends it
//! datagrams that are to come back as they are. What gets lost it sends again.
//!
//! Its arguments: the number of pings, and of datagrams. If it controls the driver, it stops and starts that again
//! and again in between.

use crate::wire::Wire;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use core::fmt::Write;
use phi_idl::CallError;
use phi_nic::{Link, LinkError, NicError};
use phi_rt::{Console, Domain, Error, Peer, Service, Signal, now};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::{icmp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, Icmpv4Packet, Icmpv4Repr, IpCidr, Ipv4Address};

/// The address here, and that of the other side.
const OWN: Ipv4Address = Ipv4Address::new(10, 77, 0, 2);
const PEER: Ipv4Address = Ipv4Address::new(10, 77, 0, 1);

/// The port that sends back what comes.
const ECHO: u16 = 7;

/// Which pings are ours.
const IDENTITY: u16 = 0x77;

/// Bytes of a packet, at most.
const PACKET: usize = 1400;

/// Nanoseconds to wait for an answer before it counts as lost, and between two looks.
const LOST: u64 = 200_000_000;
const PAUSE: u64 = 10_000_000;

/// How often something is sent, at most, and how often a driver is asked that has ended.
const TRIES: u32 = 100;
const LOOKS: u32 = 5_000;

/// Exchanges between two restarts of the driver.
const RESTART: u16 = 10;

/// The service.
pub fn main(service: &Service) -> u8 {
    let Ok(output) = service.console("output") else { return 2 };
    match work(service, &output) {
        Ok(()) => 0,
        Err(problem) => {
            let _ = writeln!(&output, "pinger: {problem}");
            1
        }
    }
}

fn work(service: &Service, mut output: &Console) -> Result<(), String> {
    let mut numbers = service.arguments().split(' ').filter_map(|number| number.parse().ok());
    let (Some(pings), Some(datagrams)) = (numbers.next(), numbers.next()) else {
        return Err("the arguments are not two numbers".into());
    };
    let driver = service.domain("domain:card").ok();
    if let Some(driver) = &driver {
        driver.start().map_err(|error| error.to_string())?;
    }
    let peer = service.peer("nic").map_err(|_| "there is no card")?;
    let mut host = Host::new(peer, driver)?;
    let _ = writeln!(output, "card {}", host.wire.link.address());
    for number in 0..pings {
        host.exchange(number, Host::ping, Host::is_answered)?;
    }
    let _ = writeln!(output, "{pings} pings answered");
    for number in 0..datagrams {
        host.exchange(number, Host::send, Host::is_echoed)?;
    }
    let _ = writeln!(output, "{datagrams} datagrams came back");
    host.wire.link.close().map_err(|error| error.to_string())
}

/// A host at the network.
struct Host {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    pings: SocketHandle,
    datagrams: SocketHandle,
    driver: Option<Domain>,
}

fn time() -> Instant {
    Instant::from_micros((now() / 1000) as i64)
}

/// The bytes of datagram `number`, some more each time.
fn content(number: u16) -> impl Iterator<Item = u8> {
    (0..1 + usize::from(number) * 37 % PACKET).map(move |at| (at as u16 ^ number) as u8)
}

impl Host {
    fn new(peer: Peer, driver: Option<Domain>) -> Result<Host, String> {
        let mut wire = Wire { link: opened(peer)?, trouble: None };
        let config = Config::new(EthernetAddress(wire.link.address().0).into());
        let mut interface = Interface::new(config, &mut wire, time());
        interface.update_ip_addrs(|addresses| {
            // There is room for one.
            let _ = addresses.push(IpCidr::new(OWN.into(), 24));
        });
        let mut sockets = SocketSet::new(vec![]);
        let mut pings = icmp::Socket::new(
            icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 4 * PACKET]),
            icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 4 * PACKET]),
        );
        let mut datagrams = udp::Socket::new(
            udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 4 * PACKET]),
            udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 4 * PACKET]),
        );
        pings.bind(icmp::Endpoint::Ident(IDENTITY)).map_err(|error| format!("{error:?}"))?;
        datagrams.bind(5000).map_err(|error| format!("{error:?}"))?;
        let (pings, datagrams) = (sockets.add(pings), sockets.add(datagrams));
        Ok(Host { wire, interface, sockets, pings, datagrams, driver })
    }

    /// Does `begin` until `is_done`.
    fn exchange(
        &mut self,
        number: u16,
        begin: fn(&mut Host, u16),
        is_done: fn(&mut Host, u16) -> bool,
    ) -> Result<(), String> {
        if number % RESTART == RESTART / 2
            && let Some(driver) = &self.driver
        {
            driver.stop().map_err(|error| error.to_string())?;
            driver.start().map_err(|error| error.to_string())?;
        }
        for _ in 0..TRIES {
            begin(self, number);
            let end = now() + LOST;
            while now() < end {
                self.interface.poll(time(), &mut self.wire, &mut self.sockets);
                if is_done(self, number) {
                    return Ok(());
                }
                if let Some(trouble) = self.wire.trouble.take() {
                    self.recover(trouble)?;
                    break;
                }
                // What is to be done without a frame is looked at, too.
                let _ = self.wire.link.wait(PAUSE);
            }
        }
        Err(format!("exchange {number} is not answered"))
    }

    /// Opens the card again if its driver is another one.
    fn recover(&mut self, trouble: LinkError) -> Result<(), String> {
        if matches!(trouble, CallError::Refused(NicError::Busy)) {
            return Ok(());
        }
        let mut trouble = trouble;
        for _ in 0..LOOKS {
            if !begins_anew(&trouble) {
                break;
            }
            match self.wire.link.open_again() {
                Ok(()) => return Ok(()),
                Err(error) => trouble = error,
            }
            phi_rt::sleep(1_000_000);
        }
        Err(trouble.to_string())
    }

    fn ping(&mut self, number: u16) {
        let checksums = ChecksumCapabilities::default();
        let request = Icmpv4Repr::EchoRequest {
            ident: IDENTITY,
            seq_no: number,
            data: &number.to_be_bytes(),
        };
        let socket = self.sockets.get_mut::<icmp::Socket>(self.pings);
        // One that has no room has sent enough.
        if let Ok(bytes) = socket.send(request.buffer_len(), PEER.into()) {
            request.emit(&mut Icmpv4Packet::new_unchecked(bytes), &checksums);
        }
    }

    fn is_answered(&mut self, number: u16) -> bool {
        let checksums = ChecksumCapabilities::default();
        let socket = self.sockets.get_mut::<icmp::Socket>(self.pings);
        while let Ok((bytes, _)) = socket.recv() {
            let packet = Icmpv4Packet::new_checked(bytes);
            let answer = packet.and_then(|packet| {
                Icmpv4Repr::parse(&packet, &checksums).map(|answer| {
                    matches!(answer, Icmpv4Repr::EchoReply { seq_no, data, .. }
                    if seq_no == number && data == number.to_be_bytes())
                })
            });
            if answer == Ok(true) {
                return true;
            }
        }
        false
    }

    fn send(&mut self, number: u16) {
        let bytes: alloc::vec::Vec<u8> = content(number).collect();
        let socket = self.sockets.get_mut::<udp::Socket>(self.datagrams);
        // As above.
        let _ = socket.send_slice(&bytes, (PEER, ECHO));
    }

    fn is_echoed(&mut self, number: u16) -> bool {
        let socket = self.sockets.get_mut::<udp::Socket>(self.datagrams);
        while let Ok((bytes, _)) = socket.recv() {
            if bytes.iter().copied().eq(content(number)) {
                return true;
            }
        }
        false
    }
}

/// Whether the driver has ended, or is a new one.
fn begins_anew(error: &LinkError) -> bool {
    matches!(error, CallError::Refused(NicError::Stale) | CallError::Transport(Error::Dead))
}

/// The card, once its driver is there.
fn opened(peer: Peer) -> Result<Link, String> {
    let signal = Signal::create().map_err(|error| error.to_string())?;
    Link::open(peer, signal).map_err(|error| error.to_string())
}
