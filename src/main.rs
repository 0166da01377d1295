//! The command: parses, calls the library, maps the result to an exit code.

fn main() {
    let hidden = std::env::args_os().nth(1);
    if hidden.as_deref() == Some(mkbase::sandbox::init::ARGUMENT.as_ref()) {
        std::process::exit(mkbase::sandbox::init::main());
    }
    if hidden.as_deref() == Some(mkbase::work::JANITOR_ARGUMENT.as_ref()) {
        std::process::exit(mkbase::work::janitor_main());
    }
    // trial
    mkbase::sandbox::userns::enter().expect("userns");
    let args: Vec<String> = std::env::args().collect();
    let root = mkbase::root::Root::open(&args[1]).expect("root");
    let out = mkbase::sandbox::Sandbox::new(&root, &args[2]).args(&args[3..]).output().expect("run");
    println!("{} {}\n{}", out.code, String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
}
