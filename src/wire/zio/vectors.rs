//! The golden octets of `vectors.json`.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(crate) struct Vectors {
    pub(crate) messages: Vec<Golden>,
    pub(crate) decode: Vec<Given>,
    pub(crate) cpp_labels: Vec<String>,
    pub(crate) transcripts: Vec<Transcript>,
}

/// A message and its octets.
#[derive(Debug, Deserialize)]
pub(crate) struct Golden {
    pub(crate) name: String,
    pub(crate) level: usize,
    pub(crate) form: String,
    pub(crate) label: String,
    pub(crate) origin: u64,
    pub(crate) granule: u64,
    pub(crate) seqno: u64,
    payload: Vec<String>,
    encoded: String,
}

/// Octets, and whether ZIO's Python package takes them.
#[derive(Debug, Deserialize)]
pub(crate) struct Given {
    pub(crate) name: String,
    raw: String,
    pub(crate) taken_by_zio: bool,
    parts: Option<Vec<String>>,
}

/// A whole flow through ZIO's broker.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Transcript {
    pub(crate) name: String,
    pub(crate) cid: u32,
    pub(crate) credit: u64,
    pub(crate) client_direction: String,
    factory_bot: String,
    steps: Vec<(String, String)>,
}

pub(crate) fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn octets(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap());
    digits.map(|two| u8::from_str_radix(two, 16).unwrap()).collect()
}

impl Golden {
    pub(crate) fn payload(&self) -> Vec<Vec<u8>> {
        self.payload.iter().map(|part| octets(part)).collect()
    }

    pub(crate) fn encoded(&self) -> Vec<u8> {
        octets(&self.encoded)
    }
}

impl Given {
    pub(crate) fn raw(&self) -> Vec<u8> {
        octets(&self.raw)
    }

    pub(crate) fn parts(&self) -> Option<Vec<Vec<u8>>> {
        Some(self.parts.as_ref()?.iter().map(|part| octets(part)).collect())
    }
}

impl Transcript {
    /// What the factory was given.
    pub(crate) fn factory_bot(&self) -> Vec<u8> {
        octets(&self.factory_bot)
    }

    /// From whom to whom (`client>broker`), and the octets.
    pub(crate) fn steps(&self) -> Vec<(&str, Vec<u8>)> {
        self.steps.iter().map(|(who, encoded)| (who.as_str(), octets(encoded))).collect()
    }
}
