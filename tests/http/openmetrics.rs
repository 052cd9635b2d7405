//! OpenMetrics text, read back and held to the rules of the format and of the house.

use std::collections::{BTreeMap, BTreeSet};

pub(crate) struct Scrape {
    pub(crate) samples: Vec<Sample>,
    pub(crate) octets: usize,
}

#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

#[derive(Default)]
struct Family<'t> {
    help: &'t str,
    kind: &'t str,
    unit: &'t str,
}

impl Scrape {
    /// Reads a whole scrape; panics where it breaks a rule.
    pub(crate) fn read(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("a scrape ends with # EOF");
        let mut families = BTreeMap::<&str, Family<'_>>::new();
        let (mut samples, mut series) = (Vec::new(), BTreeSet::new());
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                let [kind, name, rest] = [(); 3].map(|()| words.next().expect(line));
                let family = families.entry(name).or_default();
                let field = match kind {
                    "HELP" => &mut family.help,
                    "TYPE" => &mut family.kind,
                    "UNIT" => &mut family.unit,
                    _ => panic!("{line}"),
                };
                assert!(field.is_empty() && !rest.is_empty(), "twice, or empty: {line}");
                *field = rest;
                continue;
            }
            let sample = Sample::read(line);
            let (name, family) = family_of(&families, &sample.name);
            lint_sample(name, family, &sample);
            assert!(series.insert(format!("{}{:?}", sample.name, sample.labels)), "twice: {line}");
            samples.push(sample);
        }
        families.iter().for_each(|(name, family)| lint_family(name, family));
        Self { samples, octets: text.len() }
    }

    /// The sum of the samples of that name that have all these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.label(key) == Some(*value))
        };
        self.samples.iter().filter(fits).map(|sample| sample.value).sum()
    }

    /// All values of a label.
    pub(crate) fn values(&self, label: &str) -> BTreeSet<&str> {
        self.samples.iter().filter_map(|sample| sample.label(label)).collect()
    }
}

impl Sample {
    fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    fn read(line: &str) -> Self {
        let name_end = line.find(['{', ' ']).expect(line);
        let (name, mut rest) = line.split_at(name_end);
        let mut labels = BTreeMap::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            while !rest.starts_with('}') {
                let (key, value) = rest.split_once("=\"").expect(line);
                let (value, after) = unescape(value);
                labels.insert(key.to_string(), value);
                rest = after.strip_prefix(',').unwrap_or(after);
            }
            rest = &rest[1..];
        }
        let value = rest.strip_prefix(' ').expect(line).parse().expect(line);
        Self { name: name.into(), labels, value }
    }
}

/// A label's value up to its closing quote, and what follows.
fn unescape(text: &str) -> (String, &str) {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next().expect(text).1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            _ => value.push(c),
        }
    }
    panic!("no closing quote: {text}");
}

fn family_of<'f, 't>(
    families: &'f BTreeMap<&'t str, Family<'t>>,
    sample: &str,
) -> (&'t str, &'f Family<'t>) {
    let stem = ["_total", "_info", "_bucket", "_sum", "_count", ""];
    let mut stems = stem.iter().filter_map(|suffix| sample.strip_suffix(suffix));
    let found = stems.find_map(|stem| families.get_key_value(stem));
    found.map(|(name, family)| (*name, family)).unwrap_or_else(|| panic!("no HELP for {sample}"))
}

fn lint_sample(name: &str, family: &Family<'_>, sample: &Sample) {
    let suffixes: &[&str] = match family.kind {
        "counter" => &["_total"],
        "gauge" => &[""],
        "info" => &["_info"],
        "histogram" => &["_bucket", "_sum", "_count"],
        other => panic!("{name} is {other}"),
    };
    let suffix = &sample.name[name.len()..];
    assert!(suffixes.contains(&suffix), "{} of {} {name}", sample.name, family.kind);
    assert!(sample.value >= 0.0, "{sample:?}");
    for (key, value) in &sample.labels {
        let known = [
            "service",
            "outcome",
            "reason",
            "role",
            "mechanism",
            "state",
            "le",
            "version",
            "dialect",
            "part",
            "right",
            "cause",
            "status",
            "level",
            "kind",
            "server",
            "signal",
            "name",
        ];
        assert!(known.contains(&key.as_str()), "label {key} of {name}");
        assert!(value.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{sample:?}");
    }
}

fn lint_family(name: &str, family: &Family<'_>) {
    assert!(family.help.ends_with('.') && !family.kind.is_empty(), "{name}");
    assert!(name.starts_with("majordomo_") || name.starts_with("process_"), "{name}");
    assert!(name.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'_')), "{name}");
    for suffix in ["_total", "_info", "_count", "_sum", "_bucket"] {
        assert!(!name.ends_with(suffix), "{name} ends with a suffix of its samples");
    }
    for unit in ["ms", "millis", "milliseconds", "us", "minutes", "kib", "mib", "percent"] {
        assert!(!name.split('_').any(|word| word == unit), "{name} has no base unit");
    }
    for unit in ["seconds", "bytes"] {
        assert_eq!(name.ends_with(&format!("_{unit}")), family.unit == unit, "UNIT of {name}");
    }
}
