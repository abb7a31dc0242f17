//! Writes an input that is accepted into the folder of each target that has one: `samples FOLDER`. A corpus may have
//! been made by another version, whose bundles and images this one refuses at once.

use phi_model::{bundle, image, manifest};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("samples: usage: samples FOLDER");
        return ExitCode::from(2);
    };
    for (target, sample) in [
        ("bundle", bundle::sample()),
        ("image", image::sample()),
        ("manifest", manifest::SAMPLE.into()),
    ] {
        let folder = Path::new(&folder).join(target);
        let written = std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(folder.join("sample"), sample));
        if let Err(error) = written {
            eprintln!("samples: {}: {error}", folder.display());
            return ExitCode::from(3);
        }
    }
    ExitCode::SUCCESS
}
