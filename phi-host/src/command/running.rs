//! Systems that run: which one a command looks at.

use crate::control::place;
use crate::control::protocol::SystemView;
use crate::control::{Client, ClientError};
use crate::failure::{Failure, Kind};
use std::path::{Path, PathBuf};

/// What finds a system that runs.
#[derive(clap::Args, Debug)]
pub struct RunningArgument {
    /// The name of a system that runs, or the path of its control socket; the only one, if it is not given
    #[arg(value_name = "SYSTEM")]
    system: Option<String>,
}

/// A system that runs.
pub struct Running {
    /// The name of its socket, or its path.
    pub name: String,
    /// What it says of itself.
    pub system: SystemView,
    /// The connection.
    pub client: Client,
}

/// What is found without a name.
pub enum Found {
    /// It was named, or is the only one.
    One(Box<Running>),
    /// Several, or none.
    Several(Vec<Running>),
}

impl RunningArgument {
    /// The system by this name; without one, the only one that runs.
    ///
    /// # Errors
    /// It does not run; several do, or none.
    pub fn one(&self) -> Result<Running, Failure> {
        match self.find()? {
            Found::One(one) => Ok(*one),
            Found::Several(all) if all.is_empty() => {
                Err(Failure::new(Kind::Ended, "no system of this user runs")
                    .help("start one: phi-host run SYSTEM; or name the path of a control socket"))
            }
            Found::Several(all) => {
                let names: Vec<String> = all.into_iter().map(|running| running.name).collect();
                Err(Failure::new(Kind::Mistake, format!("{} systems run", names.len()))
                    .help(format!("name one of them: {}", names.join(", "))))
            }
        }
    }

    /// The system by this name, or the only one; otherwise all.
    ///
    /// # Errors
    /// The one that was named does not run.
    pub fn find(&self) -> Result<Found, Failure> {
        if let Some(name) = &self.system {
            return open(name).map(|one| Found::One(Box::new(one)));
        }
        let mut all = Vec::new();
        for name in place::names().map_err(|error| no_folder(&error))? {
            match open_at(&name, &path_of(&name)?) {
                Ok(running) => all.push(running),
                // Left behind, or just ended.
                Err(error) if error.is_gone() => {}
                Err(error) => return Err(failure(&name, &error)),
            }
        }
        Ok(match all.len() {
            1 => Found::One(Box::new(all.remove(0))),
            _ => Found::Several(all),
        })
    }
}

/// The only system that runs.
///
/// # Errors
/// Several run, or none.
pub fn only() -> Result<Running, Failure> {
    RunningArgument { system: None }.one()
}

/// The system with this name, or with the control socket at this path.
///
/// # Errors
/// It does not run.
pub fn open(name: &str) -> Result<Running, Failure> {
    let path = path_of(name)?;
    open_at(name, &path).map_err(|error| failure(name, &error))
}

fn path_of(name: &str) -> Result<PathBuf, Failure> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    if !place::is_name(name) {
        return Err(Failure::new(Kind::Mistake, "this is no name of a system that runs")
            .at(name)
            .help("see which ones run: phi-host ps; the path of a socket has a slash in it"));
    }
    place::socket_file(name).map_err(|error| no_folder(&error))
}

fn open_at(name: &str, path: &Path) -> Result<Running, ClientError> {
    let mut client = Client::connect(path)?;
    Ok(Running { name: name.into(), system: client.system()?, client })
}

fn no_folder(error: &std::io::Error) -> Failure {
    Failure::new(Kind::Computer, format!("there is no folder for control sockets: {error}"))
        .help("docs/control.md says where it is and who may enter it")
}

/// What it means that `name` cannot be asked.
pub fn failure(name: &str, error: &ClientError) -> Failure {
    let (kind, help) = if error.is_gone() {
        (Kind::Ended, "see which systems run: phi-host ps")
    } else {
        (Kind::Computer, "see whether it is one of this user's, and of this version of phi-host")
    };
    Failure::new(kind, error.to_string()).at(name).help(help)
}
