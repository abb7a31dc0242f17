//! Where control sockets lie.
//!
//! Each run has one in a folder that only its user can enter: `phi` in `XDG_RUNTIME_DIR` where that is
//! set and the user's own, `/tmp/phi-UID` otherwise. Its name is the system's, with a number behind it if
//! several run.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::geteuid;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How the name of a socket's file ends.
const SUFFIX: &str = ".socket";

/// Bytes of a name, at most.
const NAME_LENGTH: usize = 64;

/// Runs of one name at a time, at most.
const RUNS: usize = 1000;

/// Connections that wait until the supervisor takes them.
const BACKLOG: i32 = 64;

/// Time to wait for another run that is taking its name.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where a run is to listen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the folder, by this name or, if another run has it, with a number behind it.
    Default(String),
    /// In the folder, by exactly this name.
    Name(String),
    /// At this path.
    Path(PathBuf),
}

/// A socket at which a run listens. Dropped, it is gone.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    /// Device and number of the file.
    file: (u64, u64),
}

impl Listener {
    /// The socket; it does not block.
    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Listens at `place`.
    ///
    /// # Errors
    /// What Linux says; the name is no name, or another run has it.
    pub fn new(place: &Place) -> io::Result<Listener> {
        match place {
            Place::Path(path) => Listener::at(path),
            Place::Name(name) => {
                let _lock = lock(&folder()?)?;
                Listener::at(&socket_file(name)?)
            }
            Place::Default(name) => {
                let folder = folder()?;
                let _lock = lock(&folder)?;
                remove_stale(&folder)?;
                let name = if is_name(name) { name } else { "system" };
                let free = (1..=RUNS).find_map(|number| {
                    let name = if number == 1 { name.into() } else { format!("{name}-{number}") };
                    let path = folder.join(name + SUFFIX);
                    (!path.exists()).then_some(path)
                });
                let free = free.ok_or_else(|| io::Error::other("too many systems run"))?;
                Listener::at(&free)
            }
        }
    }

    fn at(path: &Path) -> io::Result<Listener> {
        let address = UnixAddr::new(path).map_err(|_| {
            let length = path.as_os_str().len();
            io::Error::other(format!("a socket's path has 107 bytes at most, this one {length}"))
        })?;
        if let Ok(found) = fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                return Err(io::Error::other("there is a file that is no socket"));
            }
            if is_alive(path) {
                return Err(io::Error::other("another run listens there"));
            }
            fs::remove_file(path)?;
        }
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        // The file gets the mode that its socket has before.
        fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
        bind(socket.as_raw_fd(), &address)?;
        let file = identity(&fs::symlink_metadata(path)?);
        let listener = Listener { socket, path: path.into(), file };
        listen(&listener.socket, Backlog::new(BACKLOG)?)?;
        Ok(listener)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Only what is its own: somebody may have put another file there.
        let own = fs::symlink_metadata(&self.path).is_ok_and(|now| identity(&now) == self.file);
        if own {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Whether this is the name of a socket in the folder.
pub fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty()
        && name.len() <= NAME_LENGTH
        && !name.starts_with('.')
        && name.bytes().all(fits)
}

/// The socket of the system called `name`.
///
/// # Errors
/// It is no name, or there can be no folder.
pub fn socket_file(name: &str) -> io::Result<PathBuf> {
    if !is_name(name) {
        let what =
            "a name has 1 to 64 letters, digits, and '-', '_' or '.' that does not come first";
        return Err(io::Error::other(what));
    }
    Ok(folder()?.join(format!("{name}{SUFFIX}")))
}

/// The names of the sockets in the folder, sorted. Some may be stale.
///
/// # Errors
/// There can be no folder, or it cannot be read.
pub fn names() -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder()?)? {
        let name = entry?.file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        names.extend(name.filter(|name| is_name(name)).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// The folder, made if need be.
///
/// # Errors
/// What is there is not the user's own, or others may enter it.
pub fn folder() -> io::Result<PathBuf> {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own = own.filter(|folder| folder.is_absolute() && check(folder).is_ok());
    let folder = match own {
        Some(folder) => folder.join("phi"),
        None => PathBuf::from(format!("/tmp/phi-{}", geteuid())),
    };
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    check(&folder)?;
    Ok(folder)
}

/// Whether `folder` is the user's own, and nobody else may do anything in it.
fn check(folder: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(folder)?;
    let place = folder.display();
    let wrong = |what: &str| io::Error::other(format!("{place} {what}"));
    if !found.is_dir() {
        return Err(wrong("is no folder"));
    }
    if found.uid() != geteuid().as_raw() {
        return Err(wrong("belongs to another user"));
    }
    if found.mode() & 0o077 != 0 {
        return Err(wrong("is open to other users"));
    }
    Ok(())
}

/// Keeps other runs from taking or removing names in the folder.
fn lock(folder: &Path) -> io::Result<Flock<File>> {
    let begun = Instant::now();
    let mut file = File::open(folder)?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if begun.elapsed() < PATIENCE => {
                file = back;
                std::thread::sleep(Duration::from_millis(2));
            }
            Err((_, error)) => return Err(error.into()),
        }
    }
}

/// Removes the sockets in the folder at which nobody listens any more. Its lock is held.
fn remove_stale(folder: &Path) -> io::Result<()> {
    for name in names()? {
        let path = folder.join(format!("{name}{SUFFIX}"));
        if !is_alive(&path) {
            // It may have gone by itself meanwhile.
            let _ = fs::remove_file(path);
        }
    }
    Ok(())
}

/// Whether somebody listens at `path`. One whose queue is full does.
fn is_alive(path: &Path) -> bool {
    let Ok(address) = UnixAddr::new(path) else { return false };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let Ok(socket) = socket(AddressFamily::Unix, SockType::Stream, flags, None) else {
        return true;
    };
    !matches!(
        connect(socket.as_raw_fd(), &address),
        Err(Errno::ECONNREFUSED | Errno::ENOENT | Errno::ENOTSOCK)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn names_cannot_leave_the_folder() {
        for name in ["a", "wordcount-2", "A_b.c", &"x".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", ".a", "a/b", "/a", "a b", "ä", "a\0", &"x".repeat(65)] {
            assert!(!is_name(name), "{name}");
            assert!(socket_file(name).is_err());
        }
    }

    #[test]
    fn a_socket_is_its_users_alone_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = Listener::new(&Place::Path(path.clone())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        UnixStream::connect(&path).unwrap();
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_not_its_own_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = Listener::new(&Place::Path(path.clone())).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another's").unwrap();
        drop(listener);
        assert_eq!(fs::read_to_string(&path).unwrap(), "another's");
        let error = Listener::new(&Place::Path(path.clone())).unwrap_err();
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "another's");
    }

    #[test]
    fn stale_sockets_are_replaced_and_live_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        // Dropped, it leaves its file behind, as a run does that is killed.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listener = Listener::new(&Place::Path(path.clone())).unwrap();
        let error = Listener::new(&Place::Path(path.clone())).unwrap_err();
        assert!(error.to_string().contains("another run"), "{error}");
        UnixStream::connect(listener.path()).unwrap();
        let long = folder.path().join("x".repeat(120));
        let error = Listener::new(&Place::Path(long)).unwrap_err();
        assert!(error.to_string().contains("107 bytes"), "{error}");
    }

    #[test]
    fn a_folder_that_others_may_enter_is_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        check(folder.path()).unwrap();
        for mode in [0o701, 0o710, 0o777] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert!(check(folder.path()).is_err(), "{mode:o}");
        }
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/tmp", &link).unwrap();
        assert!(check(&link).is_err());
        if !geteuid().is_root() {
            assert!(check(Path::new("/root")).is_err());
        }
    }
}
