//! `muzzle completions bash`, read by bash. `cli::completions` has the rest.

use std::process::Command;

fn bash(words: &str) -> String {
    let muzzle = env!("CARGO_BIN_EXE_muzzle");
    let script = format!(
        "eval \"$('{muzzle}' completions bash)\"; COMP_WORDS=('{muzzle}' {words}); \
         COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _muzzle '{muzzle}'; echo \"${{COMPREPLY[@]}}\"; \
         complete -p muzzle"
    );
    let output = Command::new("bash")
        .args(["-c", &script])
        .output()
        .expect("bash is there");
    let said = String::from_utf8(output.stdout).expect("it is text");
    let (found, registered) = said.split_once('\n').expect("two lines");
    assert_eq!(registered.trim(), "complete -o default -F _muzzle muzzle");
    found.to_owned()
}

#[test]
fn bash_completes_commands_options_and_values() {
    assert_eq!(bash("al"), "allow");
    assert_eq!(bash("pause --js"), "--json");
    assert_eq!(bash("completions ''"), "bash zsh fish");
    assert_eq!(bash("replay --no-such"), "", "then files are offered");
}
