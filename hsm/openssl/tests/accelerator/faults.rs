//! What cannot be opened: each error says what, why and what to do.

use std::fs;
use std::path::Path;
use std::process::Command;

use bixi_hsm::{Cause, DeviceError};
use bixi_hsm_openssl::{Accelerator, Params, Source};

use crate::bench::{Abi, DOUBLE, run};

fn refusal(params: &Params) -> DeviceError {
    Accelerator::open(params).expect_err("it must not open")
}

fn with_plugin(plugin: &Path) -> Params {
    Params { plugin: plugin.to_owned(), ..Abi::three().provider("default") }
}

/// Every one of `words` is in the error, which concerns the set-up.
fn says(error: &DeviceError, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.cause, Cause::Setup, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

#[test]
fn a_plugin_that_is_not_there_or_no_library_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("plugin.so");
    says(&refusal(&with_plugin(&path)), &["plugin.so", "accelerator.plugin"]);
    fs::write(&path, "not a library, but a text").unwrap();
    says(&refusal(&with_plugin(&path)), &["plugin.so", "no shared library"]);
    fs::write(&path, b"\x7FELF").unwrap();
    says(&refusal(&with_plugin(&path)), &["plugin.so", "header"]);
}

#[test]
fn a_plugin_for_another_machine_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("plugin.so");
    let mut bytes = fs::read(Abi::three().plugin).unwrap();
    // e_machine: RISC-V, on which these tests do not run.
    bytes[18] = 243;
    fs::write(&path, bytes).unwrap();
    says(&refusal(&with_plugin(&path)), &["plugin.so", "riscv64", std::env::consts::ARCH]);
}

/// A library of one line of C.
fn library(path: &Path, source: &str, arguments: &[&str]) {
    let file = path.with_extension("c");
    fs::write(&file, source).unwrap();
    run(Command::new("cc").args(["-shared", "-fPIC", "-Wl,--no-as-needed", "-o"]).arg(path).arg(&file).args(arguments));
}

#[test]
fn a_library_that_is_no_plugin_or_of_another_version_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("other.so");
    library(&path, "int nothing;\n", &[]);
    says(&refusal(&with_plugin(&path)), &["other.so", "bixi_accel_plugin_v1", "no plugin"]);
    for (name, head) in [("version.so", "2, 56"), ("size.so", "1, 64"), ("older.so", "1, 48")] {
        let path = place.path().join(name);
        let source =
            format!("unsigned table[16] = {{{head}}};\nvoid *bixi_accel_plugin_v1(void) {{ return table; }}\n");
        library(&path, &source, &[]);
        says(&refusal(&with_plugin(&path)), &[name, head, "the same release"]);
    }
    let path = place.path().join("null.so");
    library(&path, "void *bixi_accel_plugin_v1(void) { return 0; }\n", &[]);
    says(&refusal(&with_plugin(&path)), &["null.so", "no table", "the same release"]);
}

#[test]
fn a_plugin_whose_libcrypto_is_missing_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let (gone, path) = (place.path().join("libcrypto.so.gone"), place.path().join("plugin.so"));
    library(&gone, "int crypto;\n", &["-Wl,-soname,libcrypto.so.gone"]);
    library(&path, "int plugin;\n", &[gone.to_str().unwrap()]);
    fs::remove_file(&gone).unwrap();
    says(&refusal(&with_plugin(&path)), &["plugin.so", "libcrypto.so.gone", "libbixi_openssl11.so"]);
}

#[test]
fn engines_and_providers_that_are_not_installed_are_named() {
    for abi in Abi::all() {
        for id in ["kae", "uadk_engine", "hct"] {
            says(&refusal(&abi.engine(id)), &["engine", id, "ENGINE_by_id", "accelerator.directory"]);
        }
        let reason = if abi.is_three() { "OSSL_PROVIDER_load" } else { "no providers; name an engine" };
        says(&refusal(&abi.provider("uadk_provider")), &["provider uadk_provider", reason, "accelerator.directory"]);
    }
}

#[test]
fn an_engine_of_another_id_and_an_unknown_command_are_refused() {
    for abi in Abi::all() {
        let (params, place) = abi.double(&[]);
        let file = |id: &str| place.path().join(format!("{id}.so"));
        fs::copy(file(DOUBLE), file("kae")).unwrap();
        let source = Source::Engine { id: "kae".into(), commands: Vec::new() };
        says(&refusal(&Params { source, ..params }), &["engine kae", "LOAD"]);
        let (params, _place) = abi.double(&[("KAE_CMD_ENABLE_ASYNC", "0")]);
        says(&refusal(&params), &["engine command KAE_CMD_ENABLE_ASYNC 0", "invalid cmd name"]);
    }
}

#[test]
fn a_request_with_a_zero_byte_is_refused() {
    for abi in Abi::all() {
        says(&refusal(&abi.engine("kae\0")), &["zero byte"]);
        says(&refusal(&abi.provider("default\0")), &["zero byte"]);
    }
}

/// Loaded for real from where libcrypto looks, where `packages.sh --tests` installed it, and of no use here.
#[test]
fn an_engine_and_a_provider_without_our_algorithms_are_refused() {
    let abi = Abi::three();
    for (params, directory, module) in
        [(abi.engine("gost"), "-e", "gost.so"), (abi.provider("gostprov"), "-m", "gostprov.so")]
    {
        let error = refusal(&params);
        // `ENGINESDIR: "/usr/lib/…"`
        let told = run(Command::new("openssl").args(["version", directory]));
        let directory = told.split('"').nth(1).expect("a directory in quotes");
        if Path::new(directory).join(module).exists() {
            let text = error.to_string();
            assert_eq!(error.cause, Cause::Unsupported, "{text}");
            assert!(text.contains("offers none of sm3, sm4-ecb-encrypt"), "{text}");
        } else {
            says(&error, &["gost", "accelerator.directory"]);
        }
    }
}

/// What stands in the way of two OpenSSLs in one process: the plugin needs one libcrypto, and no libssl.
#[test]
fn a_plugin_needs_one_libcrypto_and_no_libssl() {
    for abi in Abi::all() {
        let dynamic = run(Command::new("readelf").arg("-d").arg(&abi.plugin));
        let needed: Vec<_> = dynamic.lines().filter(|line| line.contains("NEEDED")).collect();
        let openssl: Vec<_> =
            needed.iter().filter(|line| line.contains("libssl") || line.contains("libcrypto")).collect();
        assert_eq!(openssl.len(), 1, "{needed:?}");
        assert!(openssl[0].contains(if abi.is_three() { "libcrypto.so.3" } else { "libcrypto.so.1.1" }), "{openssl:?}");
        let symbols = run(Command::new("nm").args(["-D", "--undefined-only"]).arg(&abi.plugin));
        assert!(symbols.contains(" EVP_CipherUpdate"), "{symbols}");
        assert!(!symbols.contains(" ENGINE_"), "engines are looked up at run time: {symbols}");
    }
}
