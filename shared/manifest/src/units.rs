//! Sizes and times as text, such as `64 KiB` and `5 ms`.

/// Units of sizes, in bytes.
const SIZES: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Units of times, in nanoseconds.
const TIMES: [(&str, u64); 5] =
    [("ns", 1), ("us", 1_000), ("µs", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];

/// The size in bytes that `text` says; `None` when it says none of 64 bits.
pub(crate) fn size(text: &str) -> Option<u64> {
    quantity(text, &SIZES)
}

/// The time in nanoseconds that `text` says; `None` when it says none of 64 bits.
pub(crate) fn time(text: &str) -> Option<u64> {
    quantity(text, &TIMES)
}

/// The time and the period in nanoseconds that `text` says, as `TIME / PERIOD`.
pub(crate) fn budget(text: &str) -> Option<(u64, u64)> {
    let (used, period) = text.split_once('/')?;
    Some((time(used.trim())?, time(period.trim())?))
}

/// A whole number, spaces or none, and a unit.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start_matches(' ');
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A size for people, in the largest unit that loses nothing.
pub(crate) fn size_text(size: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| size >= *factor && size.is_multiple_of(*factor);
    let (unit, factor) = SIZES.iter().rev().find(fits).copied().unwrap_or(SIZES[0]);
    format!("{} {unit}", size / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_a_number_and_a_unit() {
        assert_eq!(size("0 B"), Some(0));
        assert_eq!(size("64 KiB"), Some(65_536));
        assert_eq!(size("2MiB"), Some(2 << 20));
        assert_eq!(size("17179869183 GiB"), Some(17_179_869_183 << 30));
        for bad in
            ["", "4", "MiB", "4 MB", "4 mib", "-4 MiB", "+4 MiB", "4.5 MiB", " 4 MiB", "4 MiB "]
        {
            assert_eq!(size(bad), None, "{bad:?}");
        }
        assert_eq!(size("17179869184 GiB"), None);
        assert_eq!(size("99999999999999999999 B"), None);
    }

    #[test]
    fn times_are_a_number_and_a_unit() {
        assert_eq!(time("5 ns"), Some(5));
        assert_eq!(time("5us"), Some(5_000));
        assert_eq!(time("5 µs"), Some(5_000));
        assert_eq!(time("5 ms"), Some(5_000_000));
        assert_eq!(time("5 s"), Some(5_000_000_000));
        for bad in ["", "5", "5 m", "5 sec", "µs", "18446744074 s", "٥ ms"] {
            assert_eq!(time(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn budgets_are_two_times() {
        assert_eq!(budget("5 ms / 10 ms"), Some((5_000_000, 10_000_000)));
        assert_eq!(budget("5ms/1s"), Some((5_000_000, 1_000_000_000)));
        for bad in ["", "/", "5 ms", "5 ms /", "5 ms / 10 ms / 20 ms"] {
            assert_eq!(budget(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn sizes_for_people_lose_nothing() {
        for (number, text) in
            [(0, "0 B"), (1, "1 B"), (1024, "1 KiB"), (1025, "1025 B"), (3 << 30, "3 GiB")]
        {
            assert_eq!(size_text(number), text);
            assert_eq!(size(text), Some(number));
        }
    }
}
