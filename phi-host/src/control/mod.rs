//! The control socket: how other processes of the same user ask a supervisor what its system is doing.
//!
//! `phi-host run` listens on a Unix socket; [`place`] says where. A client writes a request and gets one
//! answer for it, as often as it likes: [`frame`] has the framing, [`protocol`] what is said, [`client`]
//! the asking side. The supervisor's side is `linux/control_socket.rs`. `docs/control.md` is the reference.
//!
//! Principles:
//! - **Answers come from what ΦCore knows**, as it is in the moment of the request.
//! - **An answer has a bounded size**: long lists come in parts, each with the place where the next
//!   begins. So no request keeps the supervisor from its services for long.
//! - **Versioned**: another version is told so, and which one is spoken here.
//!
//! Limits: one user and root. Two parts of a list may show the system at two times.

pub mod client;
pub mod frame;
pub mod place;
pub mod protocol;
mod words;

pub use client::{Client, ClientError};
pub use place::Place;
