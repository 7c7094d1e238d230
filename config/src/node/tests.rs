use super::*;

fn errors(text: &str) -> Vec<String> {
    let errors = NodeConfig::parse(Path::new("bixi.toml"), text).expect_err("must be refused");
    errors.0.iter().map(ToString::to_string).collect()
}

#[test]
fn empty_file_gives_the_defaults() {
    assert_eq!(NodeConfig::parse(Path::new("bixi.toml"), "").unwrap(), NodeConfig::default());
}

#[test]
fn rendering_reads_back_unchanged() {
    let mut config = NodeConfig { name: "a \"quoted\" name".into(), production: true, ..NodeConfig::default() };
    config.hsm.pin = Pin::Credential("bixi-pin".into());
    config.storage.io = IoBackend::TokioUring;
    config.log.format = LogFormat::Json;
    assert_eq!(NodeConfig::parse(Path::new("bixi.toml"), &config.render()).unwrap(), config);
}

#[test]
fn shipped_file_is_the_rendering_of_the_defaults() {
    let shipped = include_str!("../../bixi.toml");
    assert_eq!(shipped, NodeConfig::default().render(), "write NodeConfig::default().render() to config/bixi.toml");
}

#[test]
fn all_faults_are_reported_at_once_with_line_key_and_suggestion() {
    let found = errors(
        "nam = \"x\"\nmemory_mb_max = 1\n[rpc]\nlisten = \"nowhere\"\nlistne = 3\n[hsm]\npin = \"123456\"\n[log]\nformat = \"xml\"\n",
    );
    assert_eq!(
        found,
        [
            "bixi.toml:1: nam: unknown key; did you mean `name`?",
            "bixi.toml:2: memory_mb_max: expected an integer from 64 to 1048576, found the integer 1",
            "bixi.toml:4: rpc.listen: expected an address and port such as \"127.0.0.1:20200\", found the string \"nowhere\"",
            "bixi.toml:5: rpc.listne: unknown key; did you mean `listen`?",
            "bixi.toml:7: hsm.pin: expected \"file:PATH\", \"fd:NUMBER\", \"credential:NAME\" or \"prompt\" (never the PIN itself); the value found is not shown",
            "bixi.toml:9: log.format: expected one of \"text\", \"json\", found the string \"xml\"",
        ]
    );
}

#[test]
fn syntax_errors_name_their_line() {
    let found = errors("name = \"x\"\nmemory_mb_max = = 4\n");
    assert!(found[0].starts_with("bixi.toml:2: "), "{found:?}");
}

#[test]
#[ignore = "writes config/bixi.toml; run after changing a default or a comment"]
fn write_shipped_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("bixi.toml");
    std::fs::write(path, NodeConfig::default().render()).unwrap();
}
