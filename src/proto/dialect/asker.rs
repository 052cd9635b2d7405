//! Who asks, as workers that can be told see it.

use std::sync::Arc;

use crate::id::{Identity, Principal, beginning};
use crate::wire::mjp::DeliveryHeader;

/// What is known of a caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asker {
    /// The name that it gave itself.
    pub(crate) identity: Option<Identity>,
    /// Who it has proven to be.
    pub(crate) proof: Option<Arc<Proof>>,
}

/// Who a caller has proven to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// Of its key.
    fingerprint: Option<Box<str>>,
    /// What its key is called, or the user.
    name: Option<Box<str>>,
}

impl Proof {
    /// More of a name than this is not told, octets.
    const NAME_MAX: usize = 255;

    /// What the principal, which is called so by whoever gave it its rights, has proven.
    pub(crate) fn of(principal: &Principal, name: Option<&Arc<str>>) -> Option<Arc<Self>> {
        let called = name.map(|name| beginning(name, Self::NAME_MAX).into());
        let (fingerprint, name) = match principal {
            Principal::Key(key) => (Some(key.fingerprint().into()), called),
            Principal::User(user) => {
                (None, Some(called.unwrap_or_else(|| user.to_string().into())))
            }
            Principal::Local | Principal::Address(_) => return None,
        };
        Some(Arc::new(Self { fingerprint, name }))
    }
}

impl Asker {
    /// What is said of it at a delivery.
    pub(crate) fn says(&self) -> DeliveryHeader<'_> {
        let proof = self.proof.as_deref();
        DeliveryHeader {
            identity: self.identity.as_ref().map(Identity::as_bytes),
            fingerprint: proof.and_then(|proof| proof.fingerprint.as_deref()),
            name: proof.and_then(|proof| proof.name.as_deref()),
            ..DeliveryHeader::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{PublicKey, UserName};

    #[test]
    fn only_what_is_proven_is_told() {
        let name: Arc<str> = "billing".into();
        let long: Arc<str> = "\u{fc}".repeat(200).into();
        let key = Principal::Key(PublicKey([7; 32]));
        let user = Principal::User(UserName::try_from(&b"bob\xff"[..]).unwrap());
        let fingerprint = PublicKey([7; 32]).fingerprint();
        let fingerprint = Some(fingerprint.as_str());
        let cases = [
            (Principal::Local, Some(&name), (None, None)),
            (Principal::Address([7; 16]), Some(&name), (None, None)),
            (key, None, (fingerprint, None)),
            (key, Some(&name), (fingerprint, Some("billing"))),
            (key, Some(&long), (fingerprint, Some(&long[..254]))),
            (user, None, (None, Some("bob\\xff"))),
            (user, Some(&name), (None, Some("billing"))),
        ];
        for (principal, name, expected) in cases {
            let asker = Asker { identity: None, proof: Proof::of(&principal, name) };
            let says = asker.says();
            assert_eq!((says.fingerprint, says.name), expected, "{principal}");
            assert_eq!(says.attempt.get(), 1);
        }
    }
}
