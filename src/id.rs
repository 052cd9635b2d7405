//! Names and handles that every layer shares.

use core::net::{IpAddr, Ipv6Addr};
use std::fmt;
use std::sync::Arc;

slotmap::new_key_type! {
    /// One connection: a slot and its generation. Never a string a peer chose for itself, so a
    /// newcomer cannot speak for somebody who has gone.
    pub struct PeerId;

    /// One request. Workers see it as the opaque client address of 8 octets.
    pub struct RequestId;
}

impl RequestId {
    /// Octets of an address on the wire.
    pub const ADDRESS_LEN: usize = 8;

    /// The client address a worker has to echo (SPEC 4.3).
    #[must_use]
    pub fn to_address(self) -> [u8; Self::ADDRESS_LEN] {
        self.token().to_be_bytes()
    }

    /// The same as a number: what MJP workers see, and echo.
    #[must_use]
    pub fn token(self) -> u64 {
        slotmap::Key::data(&self).as_ffi()
    }

    /// The request that an echoed number names, if it is one that can have been given out; see
    /// [`Self::from_address`].
    #[inline]
    #[must_use]
    pub fn from_token(token: u64) -> Option<Self> {
        handle_of(token)
    }

    /// The request an echoed address names, if the address has the right length. Whether such a
    /// request exists, and who holds it, only the routing tables know.
    #[must_use]
    pub fn from_address(address: &[u8]) -> Option<Self> {
        let octets: [u8; Self::ADDRESS_LEN] = address.try_into().ok()?;
        Self::from_token(u64::from_be_bytes(octets))
    }
}

/// The handle of that number. What no table can have given out is none: the number would be taken
/// for that of another entry otherwise, as a handle keeps only a part of what it is made from.
#[inline]
pub(crate) fn handle_of<K: slotmap::Key>(token: u64) -> Option<K> {
    let handle = K::from(slotmap::KeyData::from_ffi(token));
    (handle.data().as_ffi() == token).then_some(handle)
}

/// A number as it stands in a name that the broker made: 16 digits, none of them in another way.
pub(crate) fn number_in(digits: &[u8]) -> Option<u64> {
    let is_ours = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    let digits = std::str::from_utf8(digits).ok()?;
    let whole = digits.len() == 16 && digits.as_bytes().iter().all(is_ours);
    u64::from_str_radix(digits, 16).ok().filter(|_| whole)
}

/// The slot of a handle: where in its table the entry stands. Tables are walked in this order.
pub(crate) fn slot_of(handle: impl slotmap::Key) -> u32 {
    u32::try_from(handle.data().as_ffi() & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// The beginning of a text, as many whole characters as fit into `max` octets.
pub(crate) fn beginning(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Why a name was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name has no octets.
    #[error("the name is empty; give it 1 to {max} octets")]
    Empty {
        /// Longest name allowed.
        max: usize,
    },
    /// The name is too long.
    #[error("the name has {len} octets, more than {max}; shorten it")]
    TooLong {
        /// Octets given.
        len: usize,
        /// Longest name allowed.
        max: usize,
    },
    /// ZMTP 3.1 (RFC 37): an identity shall not start with a zero octet.
    #[error("the identity starts with octet 0, which ZMTP reserves; choose another first octet")]
    StartsWithZero,
    /// The name of a user.
    #[error("the name ends with octet 0; choose another last octet")]
    EndsWithZero,
}

/// The name a peer gives itself in its metadata: 1 to 255 octets, the first not zero.
///
/// It is a name for people and for targets, not an address (RFC 37, "Identity").
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(Arc<[u8]>);

impl Identity {
    /// Longest identity, octets.
    pub const LEN_MAX: usize = 255;

    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A name that the broker makes for a peer without one.
    pub(crate) fn made_of(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl std::borrow::Borrow<[u8]> for Identity {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Identity {
    type Error = NameError;

    fn try_from(octets: &[u8]) -> Result<Self, NameError> {
        let max = Self::LEN_MAX;
        match octets {
            [] => Err(NameError::Empty { max }),
            [0, ..] => Err(NameError::StartsWithZero),
            _ if octets.len() > max => Err(NameError::TooLong { len: octets.len(), max }),
            _ => Ok(Self(octets.into())),
        }
    }
}

/// A public key of CURVE (RFC 26): who has the secret key that belongs to it can prove so.
///
/// It is shown as its fingerprint; the key itself is written in Z85 (RFC 32).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; Self::LEN]);

impl PublicKey {
    /// Octets of a key.
    pub const LEN: usize = 32;

    /// What people compare instead of the key: the first 80 bits of its BLAKE3 digest, as 16
    /// characters of Crockford's base 32 in lower case, in groups of four.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let digest = blake3::hash(&self.0);
        let bits = digest
            .as_bytes()
            .iter()
            .take(10)
            .fold(0_u128, |bits, octet| bits << 8 | u128::from(*octet));
        let mut text = String::with_capacity(19);
        for group in 0..16 {
            if group > 0 && group % 4 == 0 {
                text.push('-');
            }
            let digit = (bits >> (75 - 5 * group)) as usize & 31;
            text.push(DIGITS.get(digit).copied().map_or('?', char::from));
        }
        text
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

/// The name of a user of PLAIN (RFC 24): 1 to 32 octets, the last of them not zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName([u8; Self::LEN_MAX]);

impl UserName {
    /// Longest name, octets.
    pub const LEN_MAX: usize = 32;

    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let len = self.0.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
        self.0.get(..len).unwrap_or_default()
    }
}

impl TryFrom<&[u8]> for UserName {
    type Error = NameError;

    fn try_from(octets: &[u8]) -> Result<Self, NameError> {
        let max = Self::LEN_MAX;
        let mut name = [0; Self::LEN_MAX];
        match (octets, name.get_mut(..octets.len())) {
            ([], _) => Err(NameError::Empty { max }),
            ([.., 0], _) => Err(NameError::EndsWithZero),
            (_, None) => Err(NameError::TooLong { len: octets.len(), max }),
            (_, Some(place)) => {
                place.copy_from_slice(octets);
                Ok(Self(name))
            }
        }
    }
}

/// On whose behalf a peer speaks. What one has asked for, another cannot claim as its own.
///
/// Nobody is authenticated with NULL, so it is where the connection comes from, without the port:
/// a client that connects anew is the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Principal {
    /// A process of this machine, by way of a Unix domain socket.
    #[default]
    Local,
    /// Whoever has this address: that of IPv6, or that of IPv4 mapped to it.
    Address([u8; 16]),
    /// Whoever has the secret key, by CURVE.
    Key(PublicKey),
    /// Whoever knows the password, by PLAIN.
    User(UserName),
}

impl Principal {
    /// Whether it has been proven, and not only come from somewhere.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        matches!(self, Self::Key(_) | Self::User(_))
    }

    /// The same for all addresses of a network that one host can have for itself.
    #[must_use]
    pub(crate) fn network(self) -> Self {
        match self {
            Self::Address(octets) => Self::at(network_of(Ipv6Addr::from(octets).to_canonical())),
            proven => proven,
        }
    }

    /// Whoever has that address.
    #[must_use]
    pub(crate) fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        })
    }

    /// Octets of which no two principals have the same: the kind, and which one it is.
    pub(crate) fn octets(&self) -> [u8; 33] {
        let mut octets = [0; 33];
        let [kind, which @ ..] = &mut octets;
        match self {
            Self::Local => {}
            Self::Address(address) => {
                *kind = 1;
                for (to, from) in which.iter_mut().zip(address) {
                    *to = *from;
                }
            }
            Self::Key(key) => (*kind, *which) = (2, key.0),
            Self::User(name) => (*kind, *which) = (3, name.0),
        }
        octets
    }

    /// The principal of those octets, if there can be one.
    pub(crate) fn from_octets(octets: &[u8; 33]) -> Option<Self> {
        let [kind, which @ ..] = octets;
        let principal = match kind {
            0 => Self::Local,
            1 => Self::Address(*which.first_chunk()?),
            2 => Self::Key(PublicKey(*which)),
            3 => Self::User(UserName(*which)),
            _ => return None,
        };
        (principal.octets() == *octets).then_some(principal)
    }
}

/// The address that stands for the network of `address` where hosts are counted: of IPv4 itself; of
/// IPv6 the first 64 bits, as the others are for each host to choose. Loopback is no network.
#[must_use]
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) if !address.is_loopback() => {
            let network = address.to_bits() >> 64 << 64;
            Ipv6Addr::from_bits(network).into()
        }
        address => address,
    }
}

/// For logs: `local`, the address, `key` and its fingerprint, or `user` and its name.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Address(octets) => {
                write!(f, "{}", Ipv6Addr::from(*octets).to_canonical())
            }
            Self::Key(key) => write!(f, "key {key}"),
            Self::User(name) => write!(f, "user {name}"),
        }
    }
}

/// The name of a service: 1 to 255 octets of any value.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(Arc<[u8]>);

impl ServiceName {
    /// Longest name, octets.
    pub const LEN_MAX: usize = 255;

    /// Whether a service can have that name.
    pub(crate) fn check(octets: &[u8]) -> Result<(), NameError> {
        let max = Self::LEN_MAX;
        match octets.len() {
            0 => Err(NameError::Empty { max }),
            len if len > max => Err(NameError::TooLong { len, max }),
            _ => Ok(()),
        }
    }

    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<&[u8]> for ServiceName {
    type Error = NameError;

    fn try_from(octets: &[u8]) -> Result<Self, NameError> {
        Self::check(octets).map(|()| Self(octets.into()))
    }
}

impl std::borrow::Borrow<[u8]> for ServiceName {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

macro_rules! escaped {
    ($($name:ident),*) => {$(
        /// Printable ASCII as it is, everything else escaped: names come from peers and go to logs.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.escape_ascii())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.escape_ascii())
            }
        }
    )*};
}
escaped!(Identity, ServiceName);

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserName({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_as_the_request_it_was_made_from() {
        let mut requests = slotmap::SlotMap::<RequestId, ()>::with_key();
        let id = requests.insert(());
        assert_eq!(RequestId::from_address(&id.to_address()), Some(id));
        assert_eq!(RequestId::from_address(b"short"), None);
    }

    #[test]
    fn a_number_that_was_never_given_out_is_no_request() {
        let mut requests = slotmap::SlotMap::<RequestId, ()>::with_key();
        let id = requests.insert(());
        assert_eq!(id.token(), 0x1_0000_0001);
        assert_eq!(RequestId::from_token(id.token()), Some(id));
        for never in [0, 1, 0x0_ffff_ffff, 0x2_0000_0001] {
            assert_eq!(RequestId::from_token(never), None, "{never:#x}");
        }
        assert_eq!(RequestId::from_address(&1_u64.to_be_bytes()), None);
    }

    #[test]
    fn a_number_in_a_name_is_written_in_one_way() {
        assert_eq!(number_in(b"000000010000000a"), Some(0x1_0000_000a));
        for wrong in [&b"000000010000000A"[..], b"+00000010000000a", b"1", b"00000001\xff000000a"] {
            assert_eq!(number_in(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(beginning("a\u{fc}b", 4), "a\u{fc}b");
        assert_eq!(beginning("a\u{fc}b", 2), "a");
        assert_eq!(beginning("\u{fc}", 1), "");
    }

    #[test]
    fn a_fingerprint_is_the_beginning_of_a_digest() {
        let key = PublicKey([0; 32]);
        let digest = blake3::hash(&key.0);
        assert_eq!(digest.as_bytes().first_chunk(), Some(&[0x2a, 0xda, 0x83]));
        let text = key.fingerprint();
        assert_eq!((text.len(), &text[..4]), (19, "5bd8"), "{text}");
        assert_ne!(text, PublicKey([1; 32]).fingerprint());
    }

    #[test]
    fn principals_of_different_kinds_differ() {
        let octets = [7; 32];
        let key = Principal::Key(PublicKey(octets));
        let user = Principal::User(UserName::try_from(&octets[..]).unwrap());
        let address = Principal::Address([7; 16]);
        assert_eq!([key, user, address].map(|principal| principal.octets()[0]), [2, 3, 1]);
        for principal in [key, user, address, Principal::Local] {
            assert_eq!(Principal::from_octets(&principal.octets()), Some(principal));
        }
        assert_eq!(Principal::from_octets(&[4; 33]), None);
        assert_eq!(Principal::from_octets(&[1; 33]), None, "more than an address");
    }

    #[test]
    fn a_host_of_ipv6_is_one_whatever_address_it_takes() {
        let network = |address: &str| {
            let address: IpAddr = address.parse().unwrap();
            (network_of(address).to_string(), Principal::at(address).network().to_string())
        };
        for (address, stands_for) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::1", "::1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2::", "2001:db8:1:2::"),
            ("2001:db8:1:3::6", "2001:db8:1:3::"),
        ] {
            assert_eq!(network(address), (stands_for.into(), stands_for.into()));
        }
        assert_eq!(Principal::Local.network(), Principal::Local);
    }

    #[test]
    fn names_hold_their_limits() {
        assert_eq!(ServiceName::try_from(&b""[..]), Err(NameError::Empty { max: 255 }));
        assert!(ServiceName::try_from(&[7; 255][..]).is_ok());
        assert_eq!(
            ServiceName::try_from(&[7; 256][..]),
            Err(NameError::TooLong { len: 256, max: 255 })
        );
        assert_eq!(Identity::try_from(&b"\0x"[..]), Err(NameError::StartsWithZero));
        assert_eq!(UserName::try_from(&b"a\0"[..]), Err(NameError::EndsWithZero));
        assert_eq!(UserName::try_from(&b"me"[..]).unwrap().as_bytes(), b"me");
        assert!(
            UserName::try_from(&[7; 32][..]).is_ok() && UserName::try_from(&[7; 33][..]).is_err()
        );
        assert_eq!(Identity::try_from(&b"a\nb"[..]).unwrap().to_string(), "a\\nb");
    }
}
