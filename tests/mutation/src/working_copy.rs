//! A copy of the sources to break.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The sources that git knows or would add, in a temporary folder that goes with this value. Build
/// outputs go to a folder beside them, so that every build but the first is incremental.
pub struct WorkingCopy {
    folder: TempDir,
}

impl WorkingCopy {
    /// Copies the repository at `root`.
    ///
    /// # Errors
    /// `git` fails there, or a file cannot be copied; which.
    pub fn new(root: &Path) -> Result<WorkingCopy, Error> {
        let mut git = Command::new("git");
        git.current_dir(root).args(["ls-files", "-z", "--cached", "--others"]);
        let listed = git.arg("--exclude-standard").output()?;
        if !listed.status.success() {
            let reason = String::from_utf8_lossy(&listed.stderr);
            return Err(Error::other(format!("git ls-files in {}: {reason}", root.display())));
        }
        let folder = tempfile::Builder::new().prefix("phi-mutation-").tempdir()?;
        let copy = WorkingCopy { folder };
        for name in listed.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let name = str::from_utf8(name).map_err(|error| {
                Error::new(ErrorKind::InvalidData, format!("git ls-files: {error}"))
            })?;
            let (from, to) = (root.join(name), copy.path(name));
            if !from.is_file() {
                continue; // Deleted, and git does not know yet.
            }
            let parent = to.parent().unwrap_or(&to);
            fs::create_dir_all(parent)
                .and_then(|()| fs::copy(&from, &to))
                .map_err(|error| Error::new(error.kind(), format!("{name}: {error}")))?;
        }
        Ok(copy)
    }

    /// The root of the copied repository.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// Where build outputs go.
    pub fn target(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    /// A file of the copy, by its name from the root.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Does `work` while `change` is made to the file called `name`, and restores the file.
    ///
    /// # Errors
    /// The file cannot be read or written, or `change` fails.
    pub fn with_change<T>(
        &self,
        name: &str,
        change: impl FnOnce(&str) -> Result<String, Error>,
        work: impl FnOnce() -> T,
    ) -> Result<T, Error> {
        let path = self.path(name);
        let before = fs::read_to_string(&path)
            .map_err(|error| Error::new(error.kind(), format!("{name}: {error}")))?;
        fs::write(&path, change(&before)?)?;
        let result = work();
        fs::write(&path, before)?;
        Ok(result)
    }
}
