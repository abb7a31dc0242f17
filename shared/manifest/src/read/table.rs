//! Values of a TOML table by type, with a diagnostic for each that is not what it should be.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use phi_abi::layout::pages;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::diagnostic::{Findings, Rule, nearest};
use crate::entries::Reference;
use crate::units::{self, size_text};

/// A key that a table may have.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// How it is written.
    pub(super) example: &'static str,
}

/// A table with known keys.
pub(super) struct Table<'t> {
    /// What it is, for people.
    pub(super) title: String,
    /// Where it begins, by its name.
    pub(super) place: usize,
    pub(super) findings: &'t Findings,
    entries: &'t DeTable<'t>,
    keys: &'static [Key],
    unread: RefCell<Vec<&'static str>>,
}

/// A value of a table: the offset of its key, and the value.
pub(super) struct Entry<'t> {
    pub(super) name: &'t str,
    pub(super) place: usize,
    pub(super) value: &'t Spanned<DeValue<'t>>,
}

/// The entries of a table in the order of the file.
pub(super) fn entries<'t>(table: &'t DeTable<'t>) -> Vec<Entry<'t>> {
    let entry = |(key, value)| {
        let (key, value): (&'t Spanned<_>, &'t Spanned<_>) = (key, value);
        let name: &std::borrow::Cow<'t, str> = key.get_ref();
        Entry { name, place: key.span().start, value }
    };
    let mut entries: Vec<Entry<'t>> = table.iter().map(entry).collect();
    entries.sort_by_key(|entry| entry.place);
    entries
}

/// What a value is, for people.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

impl<'t> Table<'t> {
    /// The table `title`, whose name is at `place`. Reports the keys that are not among `keys`.
    pub(super) fn new(
        title: String,
        place: usize,
        table: &'t DeTable<'t>,
        keys: &'static [Key],
        findings: &'t Findings,
    ) -> Table<'t> {
        for entry in entries(table) {
            if keys.iter().any(|key| key.name == entry.name) {
                continue;
            }
            let names = || keys.iter().map(|key| key.name);
            let cure = match nearest(entry.name, names()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("remove it; the known ones are {}", listed(names())),
            };
            let cause = format!("{title} has an unknown key `{}`", entry.name);
            findings.add(Rule::UnknownKey, entry.place, cause, cure);
        }
        Table { title, place, findings, entries: table, keys, unread: RefCell::default() }
    }

    /// The table `title`, if `value` is one.
    pub(super) fn of(
        title: String,
        entry: &Entry<'t>,
        example: &str,
        keys: &'static [Key],
        findings: &'t Findings,
    ) -> Option<Table<'t>> {
        let table = table(&title, entry.value, example, findings)?;
        Some(Table::new(title, entry.place, table, keys, findings))
    }

    /// Where the key `name` is; where it is not, where the table is.
    pub(super) fn place_of(&self, name: &str) -> usize {
        self.entry(name).map_or(self.place, |entry| entry.value.span().start)
    }

    /// The keys whose values could not be read.
    pub(super) fn into_unread(self) -> Vec<&'static str> {
        self.unread.into_inner()
    }

    pub(super) fn entry(&self, name: &str) -> Option<Entry<'t>> {
        let (key, value) = self.entries.get_key_value(name)?;
        Some(Entry { name: key.get_ref(), place: key.span().start, value })
    }

    fn key(&self, name: &str) -> &'static Key {
        let known = self.keys.iter().find(|key| key.name == name);
        known.unwrap_or(&Key { name: "", example: "" })
    }

    /// Reports a mistake in the value of `name`.
    pub(super) fn mistake(
        &self,
        rule: Rule,
        name: &str,
        place: usize,
        cause: String,
        cure: String,
    ) {
        self.findings.add(rule, place, cause, cure);
        let (name, mut unread) = (self.key(name).name, self.unread.borrow_mut());
        if !unread.contains(&name) {
            unread.push(name);
        }
    }

    fn wrong_type(&self, name: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let found = kind(value.get_ref());
        let cause = format!("`{name}` of {} is {found}, not {wanted}", self.title);
        let cure = format!("write it as in `{}`", self.key(name).example);
        self.mistake(Rule::WrongType, name, value.span().start, cause, cure);
    }

    /// The text of `name`, and where it begins.
    pub(super) fn text(&self, name: &str) -> Option<(&'t str, usize)> {
        let value = self.entry(name)?.value;
        match value.get_ref() {
            DeValue::String(text) => Some((text, value.span().start)),
            _ => {
                self.wrong_type(name, value, "a text");
                None
            }
        }
    }

    /// As [`Table::text`], of a key that must be there.
    pub(super) fn required(&self, name: &str) -> Option<(&'t str, usize)> {
        if self.entry(name).is_none() {
            let cause = format!("{} has no `{name}`", self.title);
            let cure = format!("add one, as in `{}`", self.key(name).example);
            self.mistake(Rule::Missing, name, self.place, cause, cure);
        }
        self.text(name)
    }

    /// The value of `name`, which must be one of `choices`.
    pub(super) fn choice<T: Copy>(
        &self,
        name: &str,
        rule: Rule,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let (text, place) = self.text(name)?;
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names = || choices.iter().map(|(name, _)| *name);
            let cause = format!("`{name}` of {} is unknown: `{text}`", self.title);
            self.mistake(rule, name, place, cause, one_of(text, names()));
        }
        found.map(|(_, value)| *value)
    }

    /// Whether `name` is `true`.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        let value = self.entry(name)?.value;
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            _ => {
                self.wrong_type(name, value, "`true` or `false`");
                None
            }
        }
    }

    /// The whole number of `name`, which must be in `range`.
    pub(super) fn number(&self, name: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let value = self.entry(name)?.value;
        let DeValue::Integer(integer) = value.get_ref() else {
            self.wrong_type(name, value, "a whole number");
            return None;
        };
        let number = whole(integer);
        if number.is_some_and(|number| range.contains(&number)) {
            return number;
        }
        let (least, most) = (range.start(), range.end());
        let cause = format!("`{name}` of {} is {integer}, which is out of range", self.title);
        let cure = format!("write a number from {least} to {most}");
        self.mistake(Rule::OutOfRange, name, value.span().start, cause, cure);
        None
    }

    /// The size of `name` in bytes, which must be in `range`.
    pub(super) fn bytes(&self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        self.size(name, range, Some)
    }

    /// The size of `name` in bytes, rounded up to whole pages, which must be in `range`.
    pub(super) fn whole_pages(&self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        self.size(name, range, pages)
    }

    fn size(
        &self,
        name: &str,
        range: RangeInclusive<u64>,
        round: fn(u64) -> Option<u64>,
    ) -> Option<u64> {
        let (text, place) = self.text(name)?;
        let Some(size) = units::size(text) else {
            let cause = format!("`{name}` of {} is no size: `{text}`", self.title);
            let cure = format!(
                "write a whole number and B, KiB, MiB or GiB, as in `{}`",
                self.key(name).example
            );
            self.mistake(Rule::BadSize, name, place, cause, cure);
            return None;
        };
        let rounded = round(size).filter(|size| range.contains(size));
        if rounded.is_none() {
            let cause = format!("`{name}` of {} is `{text}`, which is out of range", self.title);
            let (least, most) = (size_text(*range.start()), size_text(*range.end()));
            let cure = format!("write a size from {least} to {most}");
            self.mistake(Rule::OutOfRange, name, place, cause, cure);
        }
        rounded
    }

    /// The time of `name` in nanoseconds.
    pub(super) fn time(&self, name: &str) -> Option<u64> {
        let (text, place) = self.text(name)?;
        let time = units::time(text);
        if time.is_none() {
            let cause = format!("`{name}` of {} is no time: `{text}`", self.title);
            let cure = format!(
                "write a whole number and ns, us, ms or s, as in `{}`",
                self.key(name).example
            );
            self.mistake(Rule::BadTime, name, place, cause, cure);
        }
        time
    }

    /// The texts in the list `name`; `None` without the key, or if something in it is no text.
    pub(super) fn list(&self, name: &str) -> Option<Vec<Reference>> {
        let value = self.entry(name)?.value;
        let DeValue::Array(array) = value.get_ref() else {
            self.wrong_type(name, value, "a list of texts");
            return None;
        };
        let mut list = Vec::new();
        for item in array.iter() {
            let place = item.span().start;
            match item.get_ref() {
                DeValue::String(text) => list.push(Reference { name: text.to_string(), place }),
                other => {
                    let found = kind(other);
                    let title = &self.title;
                    let cause = format!("`{name}` of {title} lists {found}, not a text");
                    let cure = format!("write it as in `{}`", self.key(name).example);
                    self.mistake(Rule::WrongType, name, place, cause, cure);
                }
            }
        }
        (list.len() == array.len()).then_some(list)
    }

    /// The entries of the table `name` in the order of the file; none without it.
    pub(super) fn named(&self, name: &str) -> Vec<Entry<'t>> {
        let Some(entry) = self.entry(name) else { return Vec::new() };
        match entry.value.get_ref() {
            DeValue::Table(table) => entries(table),
            _ => {
                self.wrong_type(name, entry.value, "a table");
                Vec::new()
            }
        }
    }
}

/// The table that `value` is, which is called `title`.
fn table<'t>(
    title: &str,
    value: &'t Spanned<DeValue<'t>>,
    example: &str,
    findings: &Findings,
) -> Option<&'t DeTable<'t>> {
    if let DeValue::Table(table) = value.get_ref() {
        return Some(table);
    }
    let cause = format!("{title} is {}, not a table", kind(value.get_ref()));
    findings.add(Rule::WrongType, value.span().start, cause, format!("write it as in `{example}`"));
    None
}

fn whole(integer: &DeInteger<'_>) -> Option<u32> {
    u32::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// Names for people.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// What to write instead of `text`.
pub(super) fn one_of<'a>(text: &str, names: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(text, names.clone()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("write one of {}", listed(names)),
    }
}
