//! A short, seeded run of the fuzz targets' invariants on the stable toolchain.
//! The long run is cargo-fuzz's, in the folder `fuzz`.

mod asked;
mod event;
mod php;

/// Numbers that look random and are the same in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % bound
    }
}

/// What mutations insert: what a parser might stumble over.
const MORSELS: [&str; 34] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\\udc00",
    "null",
    "-",
    "0",
    "1e999",
    "1.",
    "18446744073709551616",
    "$annals",
    "{\"$annals\":{\"kind\":\"redacted\"}}",
    "\"id\":\"x\",",
    "annals.",
    "\u{0}",
    "\u{202e}",
    "\n",
    ";",
    "N;",
    "R:1;",
    "r:2;",
    "i:0;",
    "a:1:{",
    "a:99999999:{",
    "O:1:\"A\":1:{",
    "s:4294967297:\"",
    "S:1:\"\\",
];

fn mutate(seed: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(data.len() + 1);
        let length = dice.below(12).min(data.len() - at);
        match dice.below(5) {
            0 => drop(data.drain(at..at + length)),
            1 => drop(data.splice(at..at, MORSELS[dice.below(MORSELS.len())].bytes())),
            2 => drop(data.splice(at..at + length, MORSELS[dice.below(MORSELS.len())].bytes())),
            3 if at < data.len() => data[at] ^= 1 << dice.below(8),
            _ => {
                let copied = data[at..at + length].to_vec();
                let to = dice.below(data.len() + 1);
                drop(data.splice(to..to, copied));
            }
        }
    }
    data
}

#[test]
fn mutated_golden_events_keep_the_invariants() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1");
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let mut dice = Dice(0x5eed);
    let mut accepted = 0;
    for name in names {
        let seed = std::fs::read(name).unwrap();
        for _ in 0..1500 {
            accepted += usize::from(event::check(&mutate(&seed, &mut dice)));
        }
    }
    // Mutations that break all would show little.
    assert!(accepted > 100, "{accepted} of the mutated events were accepted");
}

#[test]
fn mutated_samples_of_php_keep_the_invariants() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/php");
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let mut dice = Dice(0x0009_4095);
    let mut accepted = 0;
    for name in names {
        let seed = std::fs::read(name).unwrap();
        for _ in 0..5000 {
            accepted += usize::from(php::check(&mutate(&seed, &mut dice)));
        }
    }
    assert!(accepted > 100, "{accepted} of the mutated texts were read");
}

#[test]
fn mutated_questions_keep_the_invariants() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/asked");
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let mut dice = Dice(0x000a_5ced);
    for name in names {
        let seed = std::fs::read(&name).unwrap();
        assert!(asked::check(&seed) > 0, "{name:?}");
        for _ in 0..5000 {
            asked::check(&mutate(&seed, &mut dice));
        }
    }
}
