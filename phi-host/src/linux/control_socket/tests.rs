//! Clients of all kinds, over real sockets.

use super::*;
use crate::control::Client as Asking;
use crate::control::client::{ClientError, encode};
use crate::control::place::Place;
use crate::control::protocol::{Part, SystemView};
use nix::sys::socket::{ControlMessage, sendmsg};
use std::io::{IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// A socket that a thread serves as the supervisor does.
struct Served {
    folder: TempDir,
    ended: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<usize>>,
    descriptors: Arc<Mutex<Vec<OwnedFd>>>,
}

fn view(name: &str) -> SystemView {
    SystemView {
        name: name.into(),
        supervisor: 1,
        mode: "processes".into(),
        time: 0,
        services: 0,
        recorded: false,
        source: None,
        mailboxes: Vec::new(),
    }
}

impl Served {
    fn new(patience: Duration) -> Served {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Path(folder.path().join("socket"));
        let mut socket = ControlSocket::new(Listener::new(&place).unwrap()).unwrap();
        socket.patience = patience;
        let ended = Arc::new(AtomicBool::new(false));
        let descriptors = Arc::new(Mutex::new(Vec::new()));
        let (stop, kept) = (ended.clone(), descriptors.clone());
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                socket.wait_for_test();
                let mut questions = Vec::new();
                socket.serve(&mut questions);
                for Question { client, request, descriptor } in questions {
                    kept.lock().unwrap().extend(descriptor);
                    let answer = match request {
                        Request::System => Answer::System(view("served")),
                        // More than a socket's buffers have room for.
                        Request::Services { .. } => Answer::System(view(&"x".repeat(3 << 20))),
                        // More than an answer may have.
                        Request::Capabilities { .. } => Answer::System(view(&"x".repeat(5 << 20))),
                        Request::Replace { .. } => Answer::Offered { generation: 1 },
                    };
                    socket.answer(client, Ok(answer));
                }
            }
            socket.clients.len()
        });
        Served { folder, ended, thread: Some(thread), descriptors }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(self.path()).unwrap()
    }

    /// Somebody well-behaved gets an answer.
    fn answers(&self) {
        let mut client = Asking::connect(&self.path()).unwrap();
        assert_eq!(client.system().unwrap().name, "served");
        assert_eq!(client.system().unwrap().name, "served");
    }

    /// Stops serving; how many clients there were.
    fn end(mut self) -> usize {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl ControlSocket {
    fn wait_for_test(&self) {
        use nix::poll::{PollFd, PollFlags, poll};
        let mut wait = [PollFd::new(self.descriptor(), PollFlags::POLLIN)];
        poll(&mut wait, 20u8).unwrap();
    }
}

/// Whether the other side has ended the connection; waits for that.
fn is_lost(mut stream: &UnixStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn clients_ask_as_often_as_they_like() {
    let served = Served::new(LONG);
    served.answers();
    let mut clients: Vec<Asking> =
        (0..CLIENTS).map(|_| Asking::connect(&served.path()).unwrap()).collect();
    for _ in 0..3 {
        for client in &mut clients {
            assert_eq!(client.system().unwrap().name, "served");
        }
    }
    assert_eq!(served.end(), CLIENTS);
}

#[test]
fn long_answers_arrive_and_too_long_ones_are_refused() {
    let served = Served::new(LONG);
    let mut client = Asking::connect(&served.path()).unwrap();
    let Answer::System(view) = client.ask(&Request::Services { from: 0 }).unwrap() else {
        panic!()
    };
    assert_eq!(view.name.len(), 3 << 20);
    let error = client.ask(&Request::Capabilities { from: 0 }).unwrap_err();
    assert!(matches!(error, ClientError::Refused(Refusal { kind: RefusalKind::Length, .. })));
    served.answers();
}

#[test]
fn what_is_no_request_is_refused_and_the_client_may_go_on() {
    let served = Served::new(LONG);
    let mut stream = served.connect();
    for content in [&b""[..], b"\0\0\0", b"{}", b"[1", &[b'['; 60_000]] {
        stream.write_all(&frame::frame(content, frame::REQUEST).unwrap()).unwrap();
        let answer = frame::read(&mut stream, frame::ANSWER).unwrap();
        let answered: Answered = serde_json::from_slice(&answer).unwrap();
        let Outcome::Error(refusal) = answered.outcome else { panic!("{answered:?}") };
        assert_eq!(refusal.kind, RefusalKind::Request);
    }
    served.answers();
}

#[test]
fn random_bytes_end_at_most_their_own_connection() {
    let served = Served::new(LONG);
    let mut number = 0x2545_F491_4F6C_DD1Du64;
    for round in 0..200 {
        let mut stream = served.connect();
        let bytes: Vec<u8> = (0..round * 7)
            .map(|_| {
                number ^= number << 13;
                number ^= number >> 7;
                number ^= number << 17;
                number as u8
            })
            .collect();
        // It may be gone before all is written.
        let _ = stream.write_all(&bytes);
        if round % 50 == 0 {
            served.answers();
        }
    }
    served.answers();
}

#[test]
fn a_length_beyond_the_limit_ends_the_connection_at_once() {
    let served = Served::new(LONG);
    for length in [frame::REQUEST as u32 + 1, u32::MAX] {
        let mut stream = served.connect();
        stream.write_all(&length.to_le_bytes()).unwrap();
        assert!(is_lost(&stream));
    }
    served.answers();
}

#[test]
fn who_does_not_finish_a_request_or_take_an_answer_loses_the_connection() {
    let served = Served::new(Duration::from_millis(200));
    let mut begun = served.connect();
    begun.write_all(&[10, 0]).unwrap();
    let mut idle = Asking::connect(&served.path()).unwrap();
    let mut lazy = served.connect();
    lazy.write_all(&encode(&Request::Services { from: 0 }).unwrap()).unwrap();
    assert!(is_lost(&begun));
    std::thread::sleep(Duration::from_millis(600));
    // Only what lay in the buffers is there.
    let mut rest = Vec::new();
    let _ = lazy.read_to_end(&mut rest);
    assert!(rest.len() < 3 << 20, "{}", rest.len());
    // Who asks nothing may stay.
    assert_eq!(idle.system().unwrap().name, "served");
}

#[test]
fn one_client_too_many_takes_the_place_of_the_longest_idle() {
    let served = Served::new(LONG);
    let first = served.connect();
    let mut second = Asking::connect(&served.path()).unwrap();
    second.system().unwrap();
    let others: Vec<UnixStream> = (2..CLIENTS).map(|_| served.connect()).collect();
    served.answers();
    assert!(is_lost(&first));
    assert_eq!(second.system().unwrap().name, "served");
    drop(others);
}

#[test]
fn requests_of_all_who_wait_are_done_though_one_writes_many() {
    let served = Served::new(LONG);
    let mut greedy = served.connect();
    let request = encode(&Request::System).unwrap();
    greedy.write_all(&request.repeat(500)).unwrap();
    served.answers();
    for _ in 0..500 {
        frame::read(&mut greedy, frame::ANSWER).unwrap();
    }
}

#[test]
fn one_descriptor_comes_along_and_two_are_too_many() {
    let served = Served::new(LONG);
    let file = tempfile::tempfile().unwrap();
    let request = encode(&Request::System).unwrap();
    let send = |count: usize| {
        let stream = served.connect();
        let descriptors = vec![file.as_raw_fd(); count];
        let parts = [IoSlice::new(&request)];
        let message = [ControlMessage::ScmRights(&descriptors)];
        let (socket, flags) = (stream.as_raw_fd(), MsgFlags::empty());
        sendmsg::<()>(socket, &parts, &message, flags, None).unwrap();
        stream
    };
    let mut stream = send(1);
    frame::read(&mut stream, frame::ANSWER).unwrap();
    let got = served.descriptors.lock().unwrap().pop().unwrap();
    let same = |descriptor: &OwnedFd| nix::sys::stat::fstat(descriptor).unwrap().st_ino;
    assert_eq!(same(&got), same(&file.try_clone().unwrap().into()));
    assert!(is_lost(&send(2)));
    served.answers();
    assert!(served.descriptors.lock().unwrap().is_empty());
}

#[test]
fn an_answer_for_one_who_left_goes_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::Path(folder.path().join("socket"));
    let mut socket = ControlSocket::new(Listener::new(&place).unwrap()).unwrap();
    let mut stream = UnixStream::connect(folder.path().join("socket")).unwrap();
    stream.write_all(&encode(&Request::System).unwrap()).unwrap();
    let mut questions = Vec::new();
    while questions.is_empty() {
        socket.wait_for_test();
        socket.serve(&mut questions);
    }
    // While the supervisor owes the answer, nothing more is read, and nothing is to do.
    stream.write_all(&[0; 100]).unwrap();
    socket.serve(&mut questions);
    drop(stream);
    while !socket.clients.is_empty() {
        socket.wait_for_test();
        socket.serve(&mut questions);
    }
    let part = Part { time: 0, entries: Vec::new(), next: None };
    socket.answer(questions[0].client, Ok(Answer::Services(part)));
    assert_eq!(questions.len(), 1);
}
