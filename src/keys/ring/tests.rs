use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::keys::text::text_of_public;
use crate::proto::rights::Verb;

/// The file of this name in an error.
const FILE: &str = "keys.toml";

fn key(number: u64) -> PublicKey {
    let mut octets = [7; 32];
    octets[..8].copy_from_slice(&number.to_be_bytes());
    PublicKey(octets)
}

fn text(number: u64) -> String {
    text_of_public(&key(number))
}

fn ring(text: &str) -> Result<KeyRing, String> {
    KeyRing::parse(text.as_bytes(), Path::new(FILE)).map_err(|error| error.to_string())
}

fn may(ring: &KeyRing, who: &Principal, verb: Verb, name: &str) -> bool {
    match ring.judge(who) {
        Standing::Known(known) => known.grants.allows(verb, name.as_bytes()),
        other => panic!("{other:?}"),
    }
}

/// Two roles, two keys of one name, one more, and one that is denied.
fn example() -> String {
    format!(
        r#"
# Who may come in.
[roles.billing]
allow = [
    "serve billing.*",
    "call  audit.*",
]
deny = ["serve billing.secret"]

[[key]]
name = "billing-1"
key = "{}"
roles = ["billing", "client"]
allow = ["call extra"]

[[key]]
name = "billing-1"
key = "{}"
roles = ["billing"]

[[key]]
name = "nobody"
key = "{}"

[[denied]]
key = "{}"
name = "mallory"
"#,
        text(1),
        text(2),
        text(3),
        text(4)
    )
}

#[test]
fn keys_have_the_rights_of_their_roles_and_their_own() {
    let ring = ring(&example()).unwrap();
    let [one, two, three] = [1, 2, 3].map(|number| Principal::Key(key(number)));
    for (who, verb, name, allowed) in [
        (&one, Verb::Serve, "billing.invoice", true),
        (&one, Verb::Serve, "billing.secret", false),
        (&one, Verb::Call, "anything", true),
        (&one, Verb::Admin, "shutdown", false),
        (&two, Verb::Serve, "billing.invoice", true),
        (&two, Verb::Call, "audit.x", true),
        (&two, Verb::Call, "extra", false),
        (&three, Verb::Call, "extra", false),
    ] {
        assert_eq!(may(&ring, who, verb, name), allowed, "{who:?} {verb} {name}");
    }
    let Standing::Known(known) = ring.judge(&two) else { panic!() };
    assert_eq!(known.name.as_deref(), Some("billing-1"));
    assert_eq!(ring.judge(&Principal::Key(key(4))), Standing::Denied);
    assert_eq!(ring.judge(&Principal::Key(key(5))), Standing::Unknown);
    assert!(may(&ring, &Principal::Local, Verb::Admin, "shutdown"));
    assert!(!may(&ring, &Principal::Address([0; 16]), Verb::Call, "mmi.service"));
    let said = format!("{ring:?}");
    assert!(!said.contains(&text(1)), "{said}");
}

#[test]
fn roles_that_are_built_in_can_be_written_anew_and_strangers_have_one() {
    let text = format!(
        "[roles]\nclient.allow = [\"call a\"]\nanonymous.allow = [\"call b\"]\n\
         [[key]]\nname = \"x\"\nkey = \"{}\"\nroles = [\"client\", \"admin\"]\n",
        text(1)
    );
    let ring = ring(&text).unwrap();
    let (one, stranger) = (Principal::Key(key(1)), Principal::Address([0; 16]));
    assert!(may(&ring, &one, Verb::Admin, "shutdown") && may(&ring, &stranger, Verb::Call, "b"));
    assert!(!may(&ring, &stranger, Verb::Call, "a"));
    let any = KeyRing::any();
    assert!(any.is_any() && may(&any, &one, Verb::Call, "z"));
    assert!(!may(&any, &one, Verb::Admin, "shutdown"));
    assert!(KeyRing::parse(b"", Path::new(FILE)).unwrap().path().is_some(), "nobody is no `any`");
}

#[test]
fn the_line_that_decides_is_told() {
    let ring = ring(&example()).unwrap();
    let test = |who: &str, rule| {
        let [why] = &ring.test(who, rule).unwrap()[..] else { panic!() };
        let allowed = if why.allowed { "yes" } else { "no" };
        let line = why.line.map_or(String::new(), |line| format!(", line {line}"));
        let rule = why.rule.as_ref().map_or(String::new(), |rule| format!(": {rule}"));
        format!("{allowed}, {}{line}{rule}", why.because)
    };
    let one = key(1).fingerprint();
    for (who, rule, expected) in [
        (&*one, "serve billing.x", "yes, role billing, line 5: allow serve billing.*"),
        (&one, "call audit.x", "yes, role billing, line 6: allow call audit.*"),
        (&one, "serve billing.secret", "no, role billing, line 8: deny serve billing.secret"),
        (&one, "call extra", "yes, role client, built in"),
        (&text(1), "admin shutdown", "no, no rule allows it"),
        ("nobody", "call x", "no, no rule allows it"),
        ("mallory", "call x", "no, the key is denied"),
        (&text(5), "call x", "no, nobody has approved the key"),
    ] {
        assert_eq!(test(who, rule), expected, "{who} {rule}");
    }
    let twins = ring.test("billing-1", "call extra").unwrap();
    assert_eq!([&twins[0], &twins[1]].map(|why| why.allowed), [true, false]);
    assert_eq!(twins[1].fingerprint, Some(key(2).fingerprint()));
    assert_eq!(twins[1].name.as_deref(), Some("billing-1"));
    for (who, rule, expected) in [
        (
            "x",
            "call x",
            "no key of the file goes by `x`; it knows names, fingerprints and keys in Z85",
        ),
        ("nobody", "call", "`call` is no rule; write a right and a name, as `call billing.*`"),
        ("nobody", "call x*", "`x*` is no name; test what is done with one name, without `*`"),
    ] {
        assert_eq!(ring.test(who, rule).unwrap_err().to_string(), expected);
    }
    let [any] = &KeyRing::any().test("whoever", "admin x").unwrap()[..] else { panic!() };
    assert_eq!((any.allowed, &*any.because), (false, "no rule allows it"));
    let keys = |who: &str| ring.named(who);
    assert_eq!(keys("billing-1"), [Principal::Key(key(1)), Principal::Key(key(2))]);
    assert_eq!(keys(&key(2).fingerprint()), [Principal::Key(key(2))]);
    assert_eq!(keys(&text(4)), [Principal::Key(key(4))]);
    assert_eq!(keys("mallory"), [Principal::Key(key(4))]);
    assert_eq!(keys("x"), []);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn everything_that_is_wrong_is_said_with_its_place() {
    let (one, two) = (text(1), text(2));
    let entry = format!("[[key]]\nname = \"a\"\nkey = \"{one}\"\n");
    let fingerprint = key(1).fingerprint();
    let many = (0..1025).map(|number| format!("\"call {number}\",")).collect::<String>();
    for (text, expected) in [
        (
            "x =".into(),
            "1:4: string values must be quoted, expected literal string; the file must be TOML",
        ),
        ("[rolse.x]\n".into(), "1:2: unknown key `rolse`; did you mean `roles`?"),
        ("banana = 1\n".into(), "1:1: unknown key `banana`; the file has roles, key, user, denied"),
        ("roles = 1".into(), "1:9: `roles` is a section: write [roles.NAME]"),
        ("[roles]\nx = 1".into(), "2:5: a role is a section: write [roles.NAME]"),
        ("[roles.x]\nallwo = []".into(), "2:1: unknown key `allwo`; did you mean `allow`?"),
        (
            "[roles.x]\nallow = \"call x\"".into(),
            "2:9: `allow` is a list of texts: write allow = [\"...\"]",
        ),
        (
            "[roles.x]\nallow = [1]".into(),
            "2:10: `allow` is a text in quotation marks, not integer",
        ),
        (
            "[roles.x]\nallow = [\"call\"]".into(),
            "2:10: `call` is no rule; write a right and a name, as `call billing.*`",
        ),
        ("[roles.x]\ndeny = [\"cal x\"]".into(), "2:9: `cal` is no right; did you mean `call`?"),
        (
            "[roles.x]\ndeny = [\"call x*y\"]".into(),
            "2:9: the pattern has `*` at octet 1; it may stand at the end only, for any rest",
        ),
        ("[roles.\"\"]".into(), "1:8: a name has 1 to 255 octets, this one 0"),
        ("[key]\nname = \"x\"".into(), "1:1: `key` is a list of sections: write [[key]]"),
        ("key = [1]".into(), "1:8: `key` is a list of sections: write [[key]]"),
        (format!("[[key]]\nkey = \"{one}\""), "1:1: `name` is missing in this [[key]]"),
        ("[[key]]\nname = \"a\"".into(), "1:1: `key` is missing in this [[key]]"),
        (
            format!("[[key]]\nname = \"a\"\nkey = \"{}\"", &one[1..]),
            "3:7: `key` is no public key: 40 characters in Z85, as `majordomo key show` prints it",
        ),
        (format!("{entry}role = [\"client\"]"), "4:1: unknown key `role`; did you mean `roles`?"),
        (
            format!("{entry}roles = [\"cleint\"]"),
            "4:10: there is no role `cleint`; did you mean `client`?",
        ),
        (
            format!("{entry}roles = [\"zzz\"]"),
            "4:10: there is no role `zzz`; write [roles.zzz], or use client, worker or admin",
        ),
        (
            format!("{entry}allow = [{many}]"),
            "3:7: a principal has 1025 rules, more than 1024; write patterns with `*` instead",
        ),
        (format!("{entry}{entry}"), "6:7: this key is there already: see line 3"),
        (
            format!("{entry}[[denied]]\nkey = \"{one}\""),
            "5:7: this key is there already, and is to be either denied or let in: see line 3",
        ),
        (
            format!("[[denied]]\nkey = \"{two}\"\nroles = []"),
            "3:1: unknown key `roles`; [[denied]] has name, key",
        ),
        (
            format!("[[key]]\nname = \"{fingerprint}\"\nkey = \"{one}\""),
            "2:8: a name that looks as a key or a fingerprint may be taken for one; use another",
        ),
        (
            format!("[[key]]\nname = \"{two}\"\nkey = \"{one}\""),
            "2:8: a name that looks as a key or a fingerprint may be taken for one; use another",
        ),
        (
            format!("[[key]]\nname = \"a\\nb\"\nkey = \"{one}\""),
            "2:8: a name has no control characters",
        ),
        (
            "[[user]]\nname = \"u\"\npassword = \"hunter2\"".into(),
            "1:1: `password_file` is missing in this [[user]]\nkeys.toml:3:12: a password does not stand here; write it into a file of mode 0600, and name that as `password_file`",
        ),
        (
            format!("[[user]]\nname = \"{}\"\npassword_file = \"x\"", "u".repeat(33)),
            "2:8: the name has 33 octets, more than 32; shorten it",
        ),
        (
            "[[user]]\nname = \"u\"\npassword_file = \"none\"".into(),
            "3:17: none: there is no such file",
        ),
        (
            "# ä\n[[key]]\nname = \"ä\" x".into(),
            "3:12: unexpected key or value, expected newline, `#`; the file must be TOML",
        ),
    ] {
        let said = ring(&text).expect_err(&text);
        assert_eq!(said, format!("{FILE}:{expected}"), "{text}");
        assert!(!said.contains("hunter2"));
    }
    let wrong = KeyRing::parse(b"\n# \xff", Path::new(FILE)).unwrap_err();
    assert_eq!(wrong.to_string(), "keys.toml:2:1: is no UTF-8; write it anew");
}

#[test]
fn all_problems_are_told_in_order_and_not_too_many() {
    let mut text = String::new();
    for number in 0..150 {
        writeln!(text, "[[key]]\nname = \"{number}\"\nkey = \"x\"").unwrap();
    }
    text.push_str("[roles.x]\nallow = [\"x\"]\n");
    let said = ring(&text).unwrap_err();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 101, "{said}");
    assert!(lines[0].starts_with("keys.toml:3:7: ") && lines[1].starts_with("keys.toml:6:7: "));
    assert_eq!(lines[100], "and 51 more");
}

#[test]
fn users_show_their_password() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let secret = |name: &str, text: &str, mode| {
        fs::write(at(name), text).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let user = |name: &str| {
        format!(
            "[[user]]\nname = \"{name}\"\npassword_file = \"{name}.pw\"\nroles = [\"client\"]\n"
        )
    };
    secret("anna.pw", "hunter2\r\n", 0o600);
    secret("ben.pw", "hunter3", 0o400);
    secret(FILE, &(user("anna") + &user("ben")), 0o644);
    let ring = KeyRing::read(&at(FILE)).unwrap();
    assert_eq!((ring.keys_len(), ring.users_len()), (0, 2));
    let anna = ring.login(b"anna", b"hunter2").unwrap();
    assert!(may(&ring, &Principal::User(anna), Verb::Call, "x"));
    assert_eq!(ring.named("anna"), [Principal::User(anna)]);
    for (name, password) in [
        ("anna", "hunter3"),
        ("anna", ""),
        ("anna", "hunter2\r\n"),
        ("carl", "hunter2"),
        ("", "hunter2"),
        ("anna\0", "hunter2"),
    ] {
        assert_eq!(ring.login(name.as_bytes(), password.as_bytes()), None, "{name} {password}");
    }
    let carl = UserName::try_from(&b"carl"[..]).unwrap();
    assert_eq!(ring.judge(&Principal::User(carl)), Standing::Denied);
    assert!(!format!("{ring:?}").contains("hunter"));

    secret("ben.pw", "hunter4", 0o600);
    let changed = ring.diff(&ring.read_again().unwrap());
    assert_eq!(
        changed.list.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["changed user ben"]
    );
    secret("ben.pw", "hunter4", 0o640);
    let said = KeyRing::read(&at(FILE)).unwrap_err().to_string();
    assert!(
        said.contains(":7:17: ") && said.contains("its mode is 0640; run: chmod 600 "),
        "{said}"
    );
    for wrong in ["", "\n", &"x".repeat(256), "a\nb\n\n"] {
        secret("ben.pw", wrong, 0o600);
        let said = KeyRing::read(&at(FILE)).map(drop).map_err(|error| error.to_string());
        let refused = said.is_err_and(|said| said.contains("a password has 1 to 255 octets"));
        assert_eq!(refused, wrong != "a\nb\n\n", "{wrong:?}");
    }
    secret("ben.pw", &"x".repeat(258), 0o600);
    let said = KeyRing::read(&at(FILE)).unwrap_err().to_string();
    assert!(said.contains("has more than 257 octets"), "{said}");
    secret("ben.pw", "hunter4", 0o600);
    secret(FILE, &(user("anna") + &user("anna")), 0o644);
    let said = KeyRing::read(&at(FILE)).unwrap_err().to_string();
    assert!(said.ends_with("keys.toml:6:8: this user is there already: see line 2"), "{said}");
}

#[test]
fn a_file_that_everybody_can_change_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    fs::write(&path, example()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let said = KeyRing::read(&path).unwrap_err().to_string();
    assert!(said.contains("everybody can change this file, its mode is 0666; run: chmod o-w "));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
    let ring = KeyRing::read(&path).unwrap();
    assert_eq!((ring.keys_len(), ring.path()), (3, Some(&*path)));
    assert!(matches!(
        KeyRing::read(&dir.path().join("x")),
        Err(RingError::File(KeyError::Missing { .. }))
    ));
}

#[test]
fn what_changed_is_told() {
    let old = example();
    let new = old
        .replace("\"serve billing.*\"", "\"serve  billing.*\"")
        .replace("# Who may", "\n\n# Who may")
        .replace("deny = [\"serve billing.secret\"]", "")
        .replace("allow = [\"call extra\"]", "allow = [\"call other\"]")
        .replace(&text(3), &text(5));
    let new = format!("{new}\n[roles.more]\n");
    let changes = ring(&old).unwrap().diff(&ring(&new).unwrap());
    let said: Vec<_> = changes.list.iter().map(ToString::to_string).collect();
    let [one, three, five] = [1, 3, 5].map(|number| key(number).fingerprint());
    let expected = [
        format!("changed key billing-1 ({one})"),
        format!("removed key nobody ({three})"),
        format!("added key nobody ({five})"),
        "changed role billing".into(),
        "added role more".into(),
    ];
    let mut sorted = expected.to_vec();
    let mut told = said.clone();
    sorted.sort();
    told.sort();
    assert_eq!((told, changes.more), (sorted, 0), "{said:?}");
    let same = ring(&old).unwrap().diff(&ring(&old).unwrap());
    assert!(same.is_empty());
}

#[test]
fn a_hundred_thousand_keys_are_read_and_one_more_is_not() {
    let mut text = String::from("[roles.r]\nallow = [\"call x\"]\n");
    let add = |text: &mut String, number: usize| {
        let key = self::text(number as u64);
        writeln!(text, "[[key]]\nname = \"k{number}\"\nkey = \"{key}\"\nroles = [\"r\"]").unwrap();
    };
    for number in 0..1000 {
        add(&mut text, number);
    }
    let small = ring(&text).unwrap();
    for number in 0..1000 {
        assert!(may(&small, &Principal::Key(key(number)), Verb::Call, "x"));
    }
    let changes = ring("").unwrap().diff(&small);
    assert_eq!((changes.list.len(), changes.more), (1000, 1));
    for number in 1000..KEYS_MAX {
        add(&mut text, number);
    }
    assert!(text.len() < RING_MAX);
    let large = ring(&text).unwrap();
    assert_eq!(large.keys_len(), KEYS_MAX);
    add(&mut text, KEYS_MAX);
    let said = ring(&text).unwrap_err();
    assert_eq!(said, "keys.toml:1:1: more than 100000 keys and users; split the broker");
}
