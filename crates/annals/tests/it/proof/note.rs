//! Signed notes and keys: published vectors, and what is refused.

use annals::Timestamp;
use annals::log::{
    Checkpoint, KeyType, Note, SignedCheckpoint, SigningKey, VerifierKey, empty_root,
};

/// From C2SP signed-note, "Example".
const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const NOTE: &str = "This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
";

/// From the documentation of Go's `golang.org/x/mod/sumdb/note`.
const NEUMANN: &str =
    "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const NEUMANNS: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const THOUGHT: &str = "If you think cryptography is the answer to your problem,
then you don't know what your problem is.
";
const HIS: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";

fn now() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

#[test]
fn published_notes_are_verified() {
    let key: VerifierKey = VKEY.parse().unwrap();
    assert_eq!((key.to_string().as_str(), key.id()), (VKEY, 0x530d_903a));
    let note: Note = NOTE.parse().unwrap();
    assert_eq!((note.text(), note.to_string().as_str()), ("This is an example message.\n", NOTE));
    assert!(note.seen_by(&key).unwrap().is_some());
    let other: Note = NOTE.replace("example message", "altered message").parse().unwrap();
    assert!(other.seen_by(&key).is_err(), "a signature of another text");
}

#[test]
fn a_published_key_signs_as_published() {
    let key: SigningKey = NEUMANN.parse().unwrap();
    assert_eq!(key.verifier().to_string(), NEUMANNS);
    assert_eq!(key.to_secret_text(), NEUMANN);
    assert_eq!(key.sign(THOUGHT, now()).to_string(), HIS);
    assert!(!format!("{key:?}").contains("AYEKFALVFGyN"), "a secret is not shown: {key:?}");
}

#[test]
fn a_witness_signs_the_time_too() {
    let key = SigningKey::generate("witness.example/w1", KeyType::Witness).unwrap();
    let mut note = Note::new("log.example/1\n0\nroot\n".to_owned());
    note.add(key.sign(note.text(), now()));
    assert_eq!(note.seen_by(&key.verifier()).unwrap(), Some(now()));
    let again: Note = note.to_string().parse().unwrap();
    assert_eq!(again.seen_by(&key.verifier()).unwrap(), Some(now()));
    let text: SigningKey = key.to_secret_text().parse().unwrap();
    assert_eq!(text.verifier(), key.verifier());
    assert_eq!(text.key_type(), KeyType::Witness);
}

#[test]
fn what_is_no_key_is_refused_with_the_reason() {
    let refused = |text: &str| text.parse::<VerifierKey>().unwrap_err().to_string();
    for (text, why) in [
        ("", "NAME+ID+KEY"),
        ("name+12345678", "NAME+ID+KEY"),
        ("a b+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "has a space"),
        ("example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "8 hexadecimal"),
        (
            "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "not that of the key",
        ),
        (
            "example.org/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "not that of the key",
        ),
        ("example.com/foo+530d903a+BukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "0x06"),
        ("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv", "29 bytes"),
        ("example.com/foo+530d903a+?", "base64"),
        (NEUMANN, "private key"),
    ] {
        assert!(refused(text).contains(why), "{text}: {}", refused(text));
    }
    assert!(NEUMANNS.parse::<SigningKey>().unwrap_err().to_string().contains("PRIVATE+KEY+"));
}

#[test]
fn what_is_no_note_is_refused_with_the_reason() {
    let many = format!("text\n\n{}", format!("{HIS}\n").repeat(65));
    for (text, why) in [
        ("", "no empty line"),
        ("text\n", "no empty line"),
        ("text\n\n", "no signature"),
        ("text\n\n— name AAAAAAA=", "newline"),
        ("text\n\n- name AAAAAAA=\n", "no signature line"),
        ("text\n\n— name AAAA\n", "base64"),
        ("te\tt\n\n— name AAAAAAA=\n", "control"),
        (&many, "65 signatures"),
    ] {
        let fault = text.parse::<Note>().unwrap_err().to_string();
        assert!(fault.contains(why), "{text:?}: {fault}");
    }
    // As many as the format demands, of keys that nobody knows.
    let sixteen = format!("text\n\n{}", format!("{HIS}\n").repeat(16));
    assert_eq!(sixteen.parse::<Note>().unwrap().signatures().len(), 16);
}

#[test]
fn a_checkpoint_is_of_its_log_and_signed_by_its_key() {
    let key = SigningKey::generate("shop.example/1", KeyType::Log).unwrap();
    let next = SigningKey::generate("shop.example/1", KeyType::Log).unwrap();
    let other = SigningKey::generate("shop.example/2", KeyType::Log).unwrap();
    let head = Checkpoint::new("shop.example/1", 3, [7; 32]).unwrap();
    let signed = head.sign(&[key.clone(), next.clone()], now());
    let again: SignedCheckpoint = signed.to_string().parse().unwrap();
    assert_eq!(again, signed);
    for keys in
        [vec![key.verifier()], vec![next.verifier()], vec![other.verifier(), key.verifier()]]
    {
        again.verify(&keys).unwrap();
    }
    let fault = again.verify(&[other.verifier()]).unwrap_err().to_string();
    assert!(fault.contains("shop.example/1") && fault.contains("shop.example/2"), "{fault}");
    let stranger = SigningKey::generate("shop.example/1", KeyType::Log).unwrap();
    let fault = again.verify(&[stranger.verifier()]).unwrap_err().to_string();
    assert!(fault.contains("no key that was given"), "{fault}");
    let larger: SignedCheckpoint = signed.to_string().replace("\n3\n", "\n4\n").parse().unwrap();
    assert!(larger.verify(&[key.verifier()]).is_err());
}

#[test]
fn what_is_no_checkpoint_is_refused_with_the_reason() {
    let empty = Checkpoint::new("shop.example/1", 0, empty_root()).unwrap().to_string();
    assert!(empty.parse::<Checkpoint>().is_ok());
    let root = empty.lines().nth(2).unwrap();
    for (text, why) in [
        (String::new(), "three lines"),
        (format!("a\n1\n{root}"), "three lines"),
        (format!("\n1\n{root}\n"), "empty line"),
        (format!("a\n01\n{root}\n"), "leading zero"),
        (format!("a\n-1\n{root}\n"), "no number"),
        (format!("a\n+1\n{root}\n"), "no number"),
        ("a\n1\nAAAA\n".to_owned(), "32 bytes"),
        ("a\n0\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".to_owned(), "without leaves"),
        (format!("a\n1\n{root}\n\n"), "empty line"),
    ] {
        let fault = text.parse::<Checkpoint>().unwrap_err().to_string();
        assert!(fault.contains(why), "{text:?}: {fault}");
    }
    // Lines that follow are another's business, and are kept.
    let further = format!("a\n1\n{root}\nmore\n");
    assert_eq!(further.parse::<Checkpoint>().unwrap().to_string(), further);
    assert!(Checkpoint::new("a log", 0, empty_root()).is_err());
}
