//! What this computer can do for ΦOS, found out by doing it.
//!
//! Principle: nothing is concluded from a version or a configuration; each row is a try, and what
//! is off says how to turn it on.

mod checks;

use crate::table::{Align, Table};
use serde_json::{Value, json};

/// Why something does not work, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Missing {
    /// What happened when it was tried.
    pub why: String,
    /// What turns it on.
    pub how: String,
}

/// One thing that was tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// What it is.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Whether `phi-host run` needs it.
    pub needed: bool,
    /// What was found, in a few words.
    pub found: Result<String, Missing>,
}

/// Everything that was tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report(pub Vec<Row>);

impl Report {
    /// Tries everything. This process must have one thread only.
    pub fn new() -> Report {
        Report(checks::all())
    }

    /// Whether all that `phi-host run` needs works.
    pub fn runs(&self) -> bool {
        self.0.iter().all(|row| !row.needed || row.found.is_ok())
    }

    /// As a table, with advice below it.
    pub fn table(&self) -> String {
        let mut table = Table::new([
            ("what", Align::Left),
            ("works", Align::Left),
            ("for", Align::Left),
            ("found", Align::Left),
        ]);
        for Row { name, purpose, needed, found } in &self.0 {
            let (works, found) = match found {
                Ok(found) => ("yes", found),
                Err(missing) if *needed => ("NO", &missing.why),
                Err(missing) => ("off", &missing.why),
            };
            table.push([(*name).into(), works.into(), (*purpose).into(), found.clone()]);
        }
        let advice = self.0.iter().filter_map(|row| {
            let missing = row.found.as_ref().err()?;
            Some(format!("  {}: {}\n", row.name, missing.how))
        });
        let advice: String = advice.collect();
        match advice.is_empty() {
            true => table.to_string(),
            false => format!("{table}\nTo turn on what is off:\n{advice}"),
        }
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            let missing = row.found.as_ref().err();
            json!({
                "what": row.name,
                "for": row.purpose,
                "needed": row.needed,
                "works": row.found.is_ok(),
                "found": row.found.as_ref().ok(),
                "why": missing.map(|missing| &missing.why),
                "how": missing.map(|missing| &missing.how),
            })
        };
        json!({ "runs": self.runs(), "rows": self.0.iter().map(row).collect::<Vec<Value>>() })
    }
}

impl Default for Report {
    fn default() -> Report {
        Report::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(needed: bool, works: bool) -> Row {
        let missing = Missing { why: "refused".into(), how: "allow it".into() };
        let found = if works { Ok("there".into()) } else { Err(missing) };
        Row { name: "x", purpose: "run", needed, found }
    }

    #[test]
    fn only_what_is_needed_must_work() {
        assert!(Report(vec![row(true, true), row(false, false)]).runs());
        assert!(!Report(vec![row(true, false), row(false, true)]).runs());
    }

    #[test]
    fn what_is_off_comes_with_advice() {
        let report = Report(vec![row(true, true), row(true, false), row(false, false)]);
        let expected = "what  works  for  found\nx     yes    run  there\nx     NO     run  refused\n\
                        x     off    run  refused\n\nTo turn on what is off:\n  x: allow it\n  x: allow it\n";
        assert_eq!(report.table(), expected);
        assert_eq!(report.json()["rows"][1]["why"], "refused");
        assert_eq!(report.json()["runs"], false);
    }
}
