//! Tables of plain text: words to the left, numbers to the right.

/// How a column's cells stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Align {
    /// At the left edge: words.
    Left,
    /// At the right edge: numbers.
    Right,
}

/// A table with a head and rows of as many cells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table<const COLUMNS: usize> {
    aligns: [Align; COLUMNS],
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// A table with these columns: title and alignment.
    pub fn new(columns: [(&str, Align); COLUMNS]) -> Table<COLUMNS> {
        let head = columns.map(|(title, _)| title.to_string());
        Table { aligns: columns.map(|(_, align)| align), rows: vec![head] }
    }

    /// Adds a row.
    pub fn push(&mut self, row: [String; COLUMNS]) {
        self.rows.push(row);
    }
}

impl<const COLUMNS: usize> std::fmt::Display for Table<COLUMNS> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let widths: [usize; COLUMNS] = std::array::from_fn(width);
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), align) in row.iter().zip(widths).zip(self.aligns) {
                line.push_str(&match align {
                    Align::Left => format!("{cell:<width$}  "),
                    Align::Right => format!("{cell:>width$}  "),
                });
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Bytes, in the largest binary unit that loses nothing.
pub fn bytes(count: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let fits = |(size, _): &&(u64, &str)| count >= *size && count.is_multiple_of(*size);
    match units.iter().find(fits) {
        Some((size, unit)) => format!("{} {unit}", count / size),
        None => format!("{count} B"),
    }
}

/// Nanoseconds, in the largest unit that loses nothing.
pub fn duration(nanoseconds: u64) -> String {
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")];
    let fits = |(size, _): &&(u64, &str)| nanoseconds >= *size && nanoseconds.is_multiple_of(*size);
    match units.iter().find(fits) {
        Some((size, unit)) => format!("{} {unit}", nanoseconds / size),
        None => format!("{nanoseconds} ns"),
    }
}

/// A time in nanoseconds with three digits.
pub fn time(nanoseconds: u64) -> String {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs")];
    let nanoseconds = nanoseconds as f64;
    let (value, unit) = match units.iter().find(|(size, _)| nanoseconds >= *size) {
        Some((size, unit)) => (nanoseconds / size, *unit),
        None => return format!("{nanoseconds} ns"),
    };
    match value {
        100.0.. => format!("{value:.0} {unit}"),
        10.0.. => format!("{value:.1} {unit}"),
        _ => format!("{value:.2} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([("name", Align::Left), ("n", Align::Right)]);
        table.push(["φ".into(), "1000".into()]);
        table.push(["longer".into(), "7".into()]);
        assert_eq!(table.to_string(), "name       n\nφ       1000\nlonger     7\n");
    }

    #[test]
    fn amounts_have_the_largest_unit_that_is_exact() {
        for (count, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1536 B"), (2048, "2 KiB"), (3 << 30, "3 GiB")]
        {
            assert_eq!(bytes(count), text);
        }
        for (time, text) in [(0, "0 ns"), (1_500, "1500 ns"), (10_000_000, "10 ms")] {
            assert_eq!(duration(time), text);
        }
    }
}
