//! What the compiler says to those who misuse the derive.

#[test]
fn misuse_is_explained_where_it_stands() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/pass/*.rs");
    cases.compile_fail("tests/fail/*.rs");
}
