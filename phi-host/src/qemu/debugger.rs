//! A machine that waits for gdb: its socket, and a script that tells gdb where everything lies.

use crate::symbols::Symbols;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What gdb needs, in a folder that only this user can enter, for as long as this lives.
pub struct Debugger {
    folder: TempDir,
}

impl Debugger {
    /// Writes the script, and the images' ELF files beside it.
    ///
    /// # Errors
    /// What Linux says.
    pub fn new(symbols: &Symbols) -> io::Result<Debugger> {
        let debugger = Debugger { folder: tempfile::Builder::new().prefix("phi-gdb-").tempdir()? };
        let mut script = Vec::new();
        writeln!(script, "set architecture i386:x86-64\nset confirm off")?;
        for (number, module) in symbols.modules().enumerate() {
            let file = debugger.folder.path().join(format!("{number}.elf"));
            std::fs::write(&file, module.file())?;
            let (file, bias) = (file.display(), module.bias());
            match bias {
                0 => writeln!(script, "symbol-file {file}")?,
                _ => writeln!(script, "add-symbol-file {file} -o {bias:#x}")?,
            }
        }
        writeln!(script, "target remote {}", debugger.socket().display())?;
        std::fs::write(debugger.script(), script)?;
        Ok(debugger)
    }

    /// Where gdb reaches the machine.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn script(&self) -> PathBuf {
        self.folder.path().join("script")
    }
}

impl fmt::Display for Debugger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let script = self.script();
        writeln!(f, "phi-host: the machine waits; in another terminal: {}", command(&script))?;
        writeln!(f, "  then, for example: hbreak phi_kernel::run::run, and continue")
    }
}

fn command(script: &Path) -> String {
    format!("gdb -x {}", script.display())
}
