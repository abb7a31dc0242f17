//! What the command prints, to the letter: `tests/command/*.trycmd`.
//!
//! Run with `TRYCMD=overwrite` to have the files say what is printed now.

#[test]
fn the_command_prints_what_the_files_say() {
    trycmd::TestCases::new().case("tests/command/*.trycmd");
}
