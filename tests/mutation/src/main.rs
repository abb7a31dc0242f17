//! `cargo run --release -p phi-mutation`: tries the mutants and says which tests found them.

use clap::Parser;
use phi_mutation::{Gate, Mutant, Report, Verdict};
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Puts bugs into a copy of ΦCore, one at a time, and says which tests find them.
#[derive(Parser)]
#[command(name = "phi-mutation")]
struct Arguments {
    /// Try only the mutant with this name; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// How many working copies to use at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    jobs: u8,
    /// Print the results as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("phi-mutation: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    // The sources that this program was built from.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mutants = chosen(&arguments.only)?;
    let start = Instant::now();
    eprintln!("running the tests without a mutant first");
    let reports = Gate::new(&root).run(&mutants, usize::from(arguments.jobs), &|report| {
        eprintln!("{}", line(report));
        if let Verdict::NotBuilt(output) = &report.verdict {
            eprintln!("{output}");
        }
    })?;
    let found = reports.iter().filter(|report| report.is_found()).count();
    let survived = reports.len() - found;
    let mut output = std::io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut output, &reports)?;
        writeln!(output)?;
    } else {
        for report in &reports {
            writeln!(output, "{}", line(report))?;
        }
        let seconds = start.elapsed().as_secs();
        writeln!(output, "\n{found} found, {survived} survived, {seconds} s")?;
    }
    Ok(survived == 0)
}

/// The mutants with these names, or all.
fn chosen(names: &[String]) -> Result<Vec<Mutant>, Box<dyn Error>> {
    let mut mutants = phi_mutation::all()?;
    if let Some(name) = names.iter().find(|name| mutants.iter().all(|mutant| mutant.name != **name))
    {
        return Err(format!("there is no mutant {name} in tests/mutation/mutants.toml").into());
    }
    mutants.retain(|mutant| names.is_empty() || names.contains(&mutant.name));
    Ok(mutants)
}

fn line(report: &Report) -> String {
    let how = match report.verdict {
        Verdict::Failed => "",
        Verdict::TimedOut => ", by its time limit",
        Verdict::Survived => " SURVIVED",
        Verdict::NotBuilt(_) => " DOES NOT COMPILE",
    };
    format!("{:<40} {}{how} {:>6.1} s", report.name, report.stage, report.seconds)
}
