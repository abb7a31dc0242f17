//! iceoryx2 0.10: requests and responses, samples, events, and loans. Both sides poll, but for the events.

use crate::PeerError;
use crate::hand_over::{Give, HandOver, SIZES};
use crate::link::{Bytes, CAPACITY, FanIn, Link, Pair, Server as Answerer};
use core::hint::spin_loop;
use iceoryx2::active_request::ActiveRequest;
use iceoryx2::pending_response::PendingResponse;
use iceoryx2::port::client::Client;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::server::Server;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::request_response::PortFactory as RequestResponse;
use std::fmt::Debug;

type Ipc = ipc::Service;
type Request = ActiveRequest<Ipc, Bytes, (), Bytes, ()>;
type Response = PendingResponse<Ipc, Bytes, (), Bytes, ()>;

fn failed(error: impl Debug) -> PeerError {
    PeerError(format!("iceoryx2: {error:?}"))
}

/// A name for this run, which all its processes are forked with.
#[derive(Clone, Copy)]
struct Name(u32);

impl Name {
    fn new() -> Name {
        set_log_level(LogLevel::Error);
        Name(std::process::id())
    }

    fn of(self, part: &str) -> Result<ServiceName, PeerError> {
        ServiceName::new(&format!("phi-peers/{}/{part}", self.0)).map_err(failed)
    }
}

fn node() -> Result<Node<Ipc>, PeerError> {
    NodeBuilder::new().create::<Ipc>().map_err(failed)
}

/// Looks before a process lets others run: more than the other side of a pair takes to answer. Of many
/// clients on few processors, most would otherwise keep the server from its answers.
const LOOKS: u32 = 200;

/// Polls until `done`.
fn poll<T>(mut done: impl FnMut() -> Result<Option<T>, PeerError>) -> Result<T, PeerError> {
    loop {
        for _ in 0..LOOKS {
            if let Some(value) = done()? {
                return Ok(value);
            }
            spin_loop();
        }
        std::thread::yield_now();
    }
}

fn requests(
    node: &Node<Ipc>,
    name: Name,
    clients: usize,
) -> Result<RequestResponse<Ipc, Bytes, (), Bytes, ()>, PeerError> {
    node.service_builder(&name.of("requests")?)
        .request_response::<Bytes, Bytes>()
        .max_clients(clients)
        .max_servers(1)
        .max_nodes(clients + 2)
        .open_or_create()
        .map_err(failed)
}

/// Requests and responses of 64 bytes.
pub struct Requests(Name);

/// Who asks. A response is awaited through the request that it answers.
pub struct Asking {
    client: Client<Ipc, Bytes, (), Bytes, ()>,
    pending: Option<Response>,
    _service: RequestResponse<Ipc, Bytes, (), Bytes, ()>,
    _node: Node<Ipc>,
}

/// Who answers.
pub struct Answering {
    server: Server<Ipc, Bytes, (), Bytes, ()>,
    active: Option<Request>,
    _service: RequestResponse<Ipc, Bytes, (), Bytes, ()>,
    _node: Node<Ipc>,
}

impl Asking {
    fn new(name: Name, clients: usize) -> Result<Asking, PeerError> {
        let node = node()?;
        let service = requests(&node, name, clients)?;
        poll(|| Ok((service.dynamic_config().number_of_servers() > 0).then_some(())))?;
        let client = service.client_builder().create().map_err(failed)?;
        Ok(Asking { client, pending: None, _service: service, _node: node })
    }
}

impl Answering {
    fn new(name: Name, clients: usize) -> Result<Answering, PeerError> {
        let node = node()?;
        let service = requests(&node, name, clients)?;
        let server = service.server_builder().create().map_err(failed)?;
        Ok(Answering { server, active: None, _service: service, _node: node })
    }

    fn respond(request: &Request, message: Bytes) -> Result<(), PeerError> {
        let response = request.loan_uninit().map_err(failed)?;
        response.write_payload(message).send().map_err(failed)
    }
}

impl Link for Asking {
    fn send(&mut self, message: &Bytes) -> Result<(), PeerError> {
        let request = self.client.loan_uninit().map_err(failed)?;
        self.pending = Some(request.write_payload(*message).send().map_err(failed)?);
        Ok(())
    }

    fn receive(&mut self) -> Result<Bytes, PeerError> {
        let pending = self.pending.as_ref().ok_or_else(|| PeerError("no request".into()))?;
        poll(|| Ok(pending.receive().map_err(failed)?.map(|response| *response)))
    }
}

impl Link for Answering {
    fn send(&mut self, message: &Bytes) -> Result<(), PeerError> {
        let request = self.active.take().ok_or_else(|| PeerError("no request".into()))?;
        Answering::respond(&request, *message)
    }

    fn receive(&mut self) -> Result<Bytes, PeerError> {
        let request = poll(|| self.server.receive().map_err(failed))?;
        let message = *request;
        self.active = Some(request);
        Ok(message)
    }
}

impl Pair for Requests {
    type Near = Asking;
    type Far = Answering;

    fn prepare() -> Result<Requests, PeerError> {
        Ok(Requests(Name::new()))
    }

    fn near(self) -> Result<Asking, PeerError> {
        Asking::new(self.0, 1)
    }

    fn far(self) -> Result<Answering, PeerError> {
        Answering::new(self.0, 1)
    }
}

/// Many clients of one server.
pub struct Star(Name, usize);

impl FanIn for Star {
    type Client = Asking;
    type Server = Answering;

    fn prepare(clients: usize) -> Result<Star, PeerError> {
        Ok(Star(Name::new(), clients))
    }

    fn client(self, _: usize) -> Result<Asking, PeerError> {
        Asking::new(self.0, self.1)
    }

    fn server(self) -> Result<Answering, PeerError> {
        Answering::new(self.0, self.1)
    }
}

impl Answerer for Answering {
    fn answer(&mut self) -> Result<usize, PeerError> {
        let request = poll(|| self.server.receive().map_err(failed))?;
        Answering::respond(&request, *request)?;
        Ok(1)
    }
}

/// A publisher and a subscriber each way.
pub struct Samples(Name);

/// One process's side.
pub struct Side {
    publisher: Publisher<Ipc, Bytes, ()>,
    subscriber: Subscriber<Ipc, Bytes, ()>,
    _node: Node<Ipc>,
}

impl Side {
    fn new(name: Name, to: &str, from: &str) -> Result<Side, PeerError> {
        let node = node()?;
        let service = |part: &str| {
            node.service_builder(&name.of(part)?)
                .publish_subscribe::<Bytes>()
                .enable_safe_overflow(false)
                .subscriber_max_buffer_size(CAPACITY)
                .max_publishers(1)
                .max_subscribers(1)
                .open_or_create()
                .map_err(failed)
        };
        let (to, from) = (service(to)?, service(from)?);
        let strategy = BackpressureStrategy::RetryUntilDelivered;
        let publisher =
            to.publisher_builder().backpressure_strategy(strategy).create().map_err(failed)?;
        let subscriber = from.subscriber_builder().create().map_err(failed)?;
        // Samples go to who is there: both wait for the other.
        poll(|| Ok((to.dynamic_config().number_of_subscribers() > 0).then_some(())))?;
        poll(|| Ok((from.dynamic_config().number_of_publishers() > 0).then_some(())))?;
        Ok(Side { publisher, subscriber, _node: node })
    }
}

impl Link for Side {
    fn send(&mut self, message: &Bytes) -> Result<(), PeerError> {
        let sample = self.publisher.loan_uninit().map_err(failed)?;
        sample.write_payload(*message).send().map_err(failed).map(drop)
    }

    fn receive(&mut self) -> Result<Bytes, PeerError> {
        poll(|| Ok(self.subscriber.receive().map_err(failed)?.map(|sample| *sample)))
    }
}

impl Pair for Samples {
    type Near = Side;
    type Far = Side;

    fn prepare() -> Result<Samples, PeerError> {
        Ok(Samples(Name::new()))
    }

    fn near(self) -> Result<Side, PeerError> {
        Side::new(self.0, "there", "back")
    }

    fn far(self) -> Result<Side, PeerError> {
        Side::new(self.0, "back", "there")
    }
}

/// Samples, and an event for each that wakes who waits for it.
pub struct Events(Name);

/// One process's side.
pub struct Woken {
    side: Side,
    notifier: Notifier<Ipc>,
    listener: Listener<Ipc>,
}

impl Woken {
    fn new(name: Name, to: &str, from: &str) -> Result<Woken, PeerError> {
        let side = Side::new(name, to, from)?;
        let event = |part: &str| {
            let name = name.of(&format!("{part}-event"))?;
            side._node.service_builder(&name).event().open_or_create().map_err(failed)
        };
        let (to, from) = (event(to)?, event(from)?);
        let notifier = to.notifier_builder().create().map_err(failed)?;
        let listener = from.listener_builder().create().map_err(failed)?;
        poll(|| Ok((to.dynamic_config().number_of_listeners() > 0).then_some(())))?;
        Ok(Woken { side, notifier, listener })
    }
}

impl Link for Woken {
    fn send(&mut self, message: &Bytes) -> Result<(), PeerError> {
        self.side.send(message)?;
        self.notifier.notify().map_err(failed).map(drop)
    }

    fn receive(&mut self) -> Result<Bytes, PeerError> {
        loop {
            self.listener.blocking_wait(|_| ()).map_err(failed)?;
            if let Some(sample) = self.side.subscriber.receive().map_err(failed)? {
                return Ok(*sample);
            }
        }
    }
}

impl Pair for Events {
    type Near = Woken;
    type Far = Woken;

    fn prepare() -> Result<Events, PeerError> {
        Ok(Events(Name::new()))
    }

    fn near(self) -> Result<Woken, PeerError> {
        Woken::new(self.0, "there", "back")
    }

    fn far(self) -> Result<Woken, PeerError> {
        Woken::new(self.0, "back", "there")
    }
}

/// Requests with as many bytes as one likes, which are lent and not written, and a short response.
pub struct Loans(Name);

/// Who lends.
pub struct LoanGiver {
    client: Client<Ipc, [u8], (), u64, ()>,
    _service: RequestResponse<Ipc, [u8], (), u64, ()>,
    _node: Node<Ipc>,
}

fn loans(
    node: &Node<Ipc>,
    name: Name,
) -> Result<RequestResponse<Ipc, [u8], (), u64, ()>, PeerError> {
    node.service_builder(&name.of("loans")?)
        .request_response::<[u8], u64>()
        .max_clients(1)
        .max_servers(1)
        .max_loaned_requests(1)
        .max_active_requests_per_client(1)
        .open_or_create()
        .map_err(failed)
}

impl HandOver for Loans {
    type Giver = LoanGiver;

    fn times(_: usize, count: usize) -> usize {
        count
    }

    fn prepare() -> Result<Loans, PeerError> {
        Ok(Loans(Name::new()))
    }

    fn giver(self) -> Result<LoanGiver, PeerError> {
        let node = node()?;
        let service = loans(&node, self.0)?;
        poll(|| Ok((service.dynamic_config().number_of_servers() > 0).then_some(())))?;
        let client =
            service.client_builder().initial_max_slice_len(SIZES[2]).create().map_err(failed)?;
        Ok(LoanGiver { client, _service: service, _node: node })
    }

    fn take_all(self) -> Result<(), PeerError> {
        let node = node()?;
        let service = loans(&node, self.0)?;
        let server = service.server_builder().create().map_err(failed)?;
        loop {
            let request = poll(|| server.receive().map_err(failed))?;
            let length = request.payload().len();
            let response = request.loan_uninit().map_err(failed)?;
            response.write_payload(length as u64).send().map_err(failed)?;
            // One byte is the end.
            if length == 1 {
                return Ok(());
            }
        }
    }
}

impl LoanGiver {
    fn lend(&mut self, size: usize) -> Result<(), PeerError> {
        let request = self.client.loan_slice_uninit(size).map_err(failed)?;
        // SAFETY: any bytes are some, and nobody reads them: they are zero, or what was lent before.
        let request = unsafe { request.assume_init() };
        let pending = request.send().map_err(failed)?;
        poll(|| Ok(pending.receive().map_err(failed)?.map(drop)))
    }
}

impl Give for LoanGiver {
    fn give(&mut self, size: usize) -> Result<(), PeerError> {
        self.lend(size)
    }

    fn end(mut self) -> Result<(), PeerError> {
        self.lend(1)
    }
}
