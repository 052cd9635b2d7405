//! What a peer says of itself in READY (RFC 37, "Connection Metadata").
//!
//! A property is the length of its name (1 octet), the name, the length of its value (4 octets,
//! network order) and the value.

use super::SocketType;
use crate::id::{Identity, NameError};

/// Most properties a peer may send. libzmq sends two.
pub const PROPERTIES_MAX: usize = 16;

const SOCKET_TYPE: &str = "Socket-Type";
const IDENTITY: &str = "Identity";

/// The properties that decide something. `X-...`, `Resource` and unknown ones are let pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// What the peer is.
    pub socket_type: SocketType,
    /// The name it gives itself; an empty one is none.
    pub identity: Option<Identity>,
}

/// Metadata that breaks its layout or its meaning. It comes again with every connection, so all of
/// these are for good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// Too many properties.
    #[error("metadata has more than {PROPERTIES_MAX} properties; send fewer")]
    TooMany,
    /// RFC 37: a name has 1 to 255 letters, digits, or one of `- _ . +`.
    #[error("property {index} has no name or one with characters other than A-Z a-z 0-9 - _ . +")]
    Name {
        /// Which property, from 0.
        index: usize,
    },
    /// A length runs beyond the end of the command.
    #[error("property {index} runs beyond the end of the metadata")]
    Overrun {
        /// Which property, from 0.
        index: usize,
    },
    /// RFC 37 leaves open which would hold, so neither does.
    #[error("metadata repeats {name}; send it once")]
    Repeated {
        /// The property.
        name: &'static str,
    },
    /// Nothing says what the peer is.
    #[error("metadata has no {SOCKET_TYPE}; name one of RFC 37")]
    NoSocketType,
    /// A type that RFC 37 does not know.
    #[error("unknown socket type \"{name}\"; RFC 37 names them in upper case")]
    UnknownSocketType {
        /// Its first octets, escaped.
        name: String,
    },
    /// An identity that is too long, or starts with 0.
    #[error(transparent)]
    Identity(#[from] NameError),
}

impl Metadata {
    /// Reads the metadata of READY: all of `octets`.
    ///
    /// # Errors
    /// See [`MetadataError`]. Nothing is allocated for metadata that is refused.
    pub fn decode(mut octets: &[u8]) -> Result<Self, MetadataError> {
        let (mut socket_type, mut identity) = (None, None);
        let mut index = 0;
        while !octets.is_empty() {
            if index == PROPERTIES_MAX {
                return Err(MetadataError::TooMany);
            }
            let (name, value) = property(&mut octets, index)?;
            for (known, slot) in [(SOCKET_TYPE, &mut socket_type), (IDENTITY, &mut identity)] {
                // RFC 37: metadata names shall be case-insensitive.
                if name.eq_ignore_ascii_case(known.as_bytes()) && slot.replace(value).is_some() {
                    return Err(MetadataError::Repeated { name: known });
                }
            }
            index += 1;
        }
        let name = socket_type.ok_or(MetadataError::NoSocketType)?;
        let socket_type = SocketType::from_name(name)
            .ok_or_else(|| MetadataError::UnknownSocketType { name: shown(name) })?;
        let identity = identity.filter(|octets| socket_type.has_identity() && !octets.is_empty());
        Ok(Self { socket_type, identity: identity.map(Identity::try_from).transpose()? })
    }

    /// Appends the properties, the identity also when it is empty, as libzmq does.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode_property(SOCKET_TYPE, self.socket_type.name().as_bytes(), out);
        if self.socket_type.has_identity() {
            let identity = self.identity.as_ref().map_or(&[][..], Identity::as_bytes);
            encode_property(IDENTITY, identity, out);
        }
    }
}

/// Takes one property from the front of `octets`: its name and its value.
fn property<'a>(
    octets: &mut &'a [u8],
    index: usize,
) -> Result<(&'a [u8], &'a [u8]), MetadataError> {
    let name_char = |c: &u8| c.is_ascii_alphanumeric() || b"-_.+".contains(c);
    let overrun = || MetadataError::Overrun { index };
    let (&len, rest) = octets.split_first().ok_or_else(overrun)?;
    let (name, rest) = rest.split_at_checked(usize::from(len)).ok_or_else(overrun)?;
    if name.is_empty() || !name.iter().all(name_char) {
        return Err(MetadataError::Name { index });
    }
    let (size, rest) = rest.split_first_chunk().ok_or_else(overrun)?;
    let size = usize::try_from(u32::from_be_bytes(*size)).map_err(|_| overrun())?;
    let (value, rest) = rest.split_at_checked(size).ok_or_else(overrun)?;
    *octets = rest;
    Ok((name, value))
}

/// Our names are constants, our values at most 255 octets: the lengths fit.
fn encode_property(name: &str, value: &[u8], out: &mut Vec<u8>) {
    let [.., name_len] = name.len().to_be_bytes();
    let [_, _, _, _, value_len @ ..] = (value.len() as u64).to_be_bytes();
    out.push(name_len);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(&value_len);
    out.extend_from_slice(value);
}

/// The first octets of something a peer wrote, fit for a log.
fn shown(octets: &[u8]) -> String {
    const MAX: usize = 32;
    octets.get(..MAX).unwrap_or(octets).escape_ascii().to_string()
}

#[cfg(test)]
mod tests;
