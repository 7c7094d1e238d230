//! Third-party clients: OpenSC's `pkcs11-tool` and `pkcs11-spy`, p11-kit's proxy; OpenSSL judges what they made.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use bixi_tests::second_opinion::openssl_accepts;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::Session;

use super::process::*;

/// Where Debian puts them.
const SPY: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/pkcs11-spy.so";
const P11_KIT_CLIENT: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so";
const LOGIN: [&str; 3] = ["--login", "--pin", USER_PIN];
/// What the token asks of every key on it, and `pkcs11-tool` leaves out unless told.
const SEALED_IN: [&str; 2] = ["--sensitive", "--private"];

fn path(name: &str) -> String {
    directory().join(name).to_str().unwrap().to_owned()
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

/// `pkcs11-tool` on the token, logged in.
fn user(arguments: &[&str]) -> String {
    tool(&[&LOGIN, arguments].concat())
}

#[test]
fn opensc_initialises_lists_and_draws_random_bytes() {
    in_process("clients::case_opensc");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_opensc() {
    tool(&["--init-token", "--slot", "0", "--label", "opensc", "--so-pin", SO_PIN]);
    tool(&["--init-pin", "--login", "--login-type", "so", "--so-pin", SO_PIN, "--pin", USER_PIN]);
    let mechanisms = tool(&["--list-mechanisms"]);
    for number in ["0x80008001", "0x80008105", "0x80009001", "0x80000108"] {
        assert!(mechanisms.contains(number), "{mechanisms}");
    }
    assert!(tool(&["--list-token-slots"]).contains("opensc"));
    let (module, slot) = loaded();
    let session = logged_in(&module, slot);
    let (public, _) = pair(&session, "sign");
    let path = |name: &str| directory().join(name).to_str().unwrap().to_owned();
    let key = point(&session, public);
    std::fs::write(path("data"), b"signed by pkcs11-tool").unwrap();
    let sign = ["--login", "--pin", USER_PIN, "--sign", "--mechanism", "0x80008103", "--label", "sign"];
    tool(&[&sign[..], &["--input-file", &path("data"), "--output-file", &path("signed")]].concat());
    let signature = std::fs::read(path("signed")).unwrap();
    assert!(openssl_accepts(&key, b"signed by pkcs11-tool", &signature), "{} bytes", signature.len());
    tool(&["--generate-random", "64", "--output-file", &path("random")]);
    assert_eq!(std::fs::read(path("random")).unwrap().len(), 64);
    let changed = "changed-secret";
    tool(&["--login", "--pin", USER_PIN, "--change-pin", "--new-pin", changed]);
    assert!(tool(&["--login", "--pin", changed, "--list-objects"]).contains("Private Key Object"));
}

/// Keys, signatures, MACs and ciphers of the standard, by a client that knows no vendor's number.
#[test]
fn opensc_finds_the_standards_mechanisms() {
    in_process("clients::case_opensc_standard");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_opensc_standard() {
    drop(initialised());
    std::fs::write(path("message"), "a message").unwrap();
    let message = path("message");
    for (curve, id) in [("EC:prime256v1", "01"), ("EC:secp256k1", "02")] {
        user(&["--keypairgen", "--key-type", curve, "--id", id]);
        tool(&["--read-object", "--type", "pubkey", "--id", id, "--output-file", &path("public.der")]);
        for (mechanism, hash) in [("ECDSA-SHA256", "-sha256"), ("ECDSA-SHA384", "-sha384")] {
            let sign = ["--sign", "--mechanism", mechanism, "--id", id, "--signature-format", "openssl"];
            user(&[&sign[..], &["--input-file", &message, "--output-file", &path("signature")]].concat());
            let verify = ["dgst", hash, "-keyform", "DER", "-verify", &path("public.der")];
            run("openssl", &[&verify[..], &["-signature", &path("signature"), &message]].concat());
        }
    }
    user(&[&["--keygen", "--key-type", "GENERIC:32", "--id", "03", "--usage-sign"][..], &SEALED_IN].concat());
    user(&["--sign", "--mechanism", "SHA256-HMAC", "--id", "03", "-i", &message, "-o", &path("mac")]);
    assert_eq!(read("mac").len(), 32);
    user(&[&["--keygen", "--key-type", "AES:32", "--id", "04", "--usage-decrypt"][..], &SEALED_IN].concat());
    let cbc = ["--mechanism", "AES-CBC-PAD", "--id", "04", "--iv", "00112233445566778899AABBCCDDEEFF"];
    user(&[&["--encrypt", "-i", &message, "-o", &path("sealed")], &cbc[..]].concat());
    user(&[&["--decrypt", "-i", &path("sealed"), "-o", &path("opened")], &cbc[..]].concat());
    assert_eq!((read("sealed").len(), read("opened")), (16, b"a message".to_vec()));
    tool(&["--hash", "--mechanism", "SHA512", "-i", &message, "-o", &path("hash")]);
    assert_eq!(read("hash").len(), 64);
}

/// A wrapped key comes back; a key that must not leave does not, and none does without the configuration's consent.
#[test]
fn opensc_wraps_only_what_may_leave() {
    in_process_with("clients::case_opensc_wrap", "allow_import = true\nallow_extractable = true\n");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_opensc_wrap() {
    drop(initialised());
    let aes = |id, more: &[&str]| {
        user(&[&["--keygen", "--key-type", "AES:16", "--id", id, "--usage-decrypt"], more, &SEALED_IN].concat())
    };
    aes("01", &["--usage-wrap"]);
    aes("02", &["--extractable"]);
    aes("03", &[]);
    std::fs::write(path("message"), "a message").unwrap();
    let cbc = |id, way, from: &str, to: &str| {
        let iv = "00112233445566778899AABBCCDDEEFF";
        user(&[way, "--mechanism", "AES-CBC-PAD", "--id", id, "--iv", iv, "-i", &path(from), "-o", &path(to)])
    };
    cbc("02", "--encrypt", "message", "sealed");
    let wrap = ["--mechanism", "AES-KEY-WRAP", "--id", "01"];
    user(&[&["--wrap", "--application-id", "02", "-o", &path("wrapped")], &wrap[..]].concat());
    assert_eq!(read("wrapped").len(), 24);
    let back = ["--unwrap", "--application-id", "04", "--key-type", "AES:", "--usage-decrypt", "-i", &path("wrapped")];
    user(&[&back[..], &wrap, &SEALED_IN].concat());
    cbc("04", "--decrypt", "sealed", "opened");
    assert_eq!(read("opened"), b"a message");
    let out = path("kept");
    let kept = [&LOGIN[..], &["--wrap", "--application-id", "03", "-o", &out], &wrap].concat();
    assert!(refused_tool(&kept).contains("CKR_KEY_UNEXTRACTABLE"));
}

/// What `pkcs11-tool` says when it fails.
fn refused_tool(arguments: &[&str]) -> String {
    let module = module_path();
    let output = Command::new("pkcs11-tool").arg("--module").arg(module).args(arguments).output().unwrap();
    assert!(!output.status.success(), "{arguments:?} succeeded");
    text_of(&output)
}

#[test]
fn opensc_is_told_of_a_wrong_pin_and_of_keys_that_must_not_be() {
    in_process("clients::case_opensc_refused");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_opensc_refused() {
    let (module, slot) = initialised();
    assert!(refused_tool(&["--login", "--pin", "wrong-pin", "--list-objects"]).contains("CKR_PIN_INCORRECT"));
    assert!(module.get_token_info(slot).unwrap().user_pin_count_low());
    let readable = [&LOGIN[..], &["--keygen", "--key-type", "AES:16", "--id", "01"]].concat();
    assert!(refused_tool(&readable).contains("CKR_TEMPLATE_INCONSISTENT"));
    let leaving = [&readable[..], &SEALED_IN, &["--extractable"]].concat();
    assert!(refused_tool(&leaving).contains("CKR_TEMPLATE_INCONSISTENT"));
    let rsa = [&LOGIN[..], &["--keypairgen", "--key-type", "rsa:2048"]].concat();
    assert!(refused_tool(&rsa).contains("mechanism not supported"));
    assert!(user(&["--list-objects"]).lines().all(|line| !line.contains("Key Object")));
}

/// OpenSC's spy passes every call on and logs it.
#[test]
fn the_spy_passes_everything_on() {
    in_process("clients::case_spy");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_spy() {
    let (module, slot) = initialised();
    let session = logged_in(&module, slot);
    let (public, _) = pair(&session, "sign");
    std::fs::write(path("message"), "through the spy").unwrap();
    let output = Command::new("pkcs11-tool")
        .args(["--module", SPY, "--sign", "--mechanism", "0x80008103"])
        .args(LOGIN)
        .args(["--label", "sign", "--input-file", &path("message"), "--output-file", &path("signature")])
        .env("PKCS11SPY", module_path())
        .env("PKCS11SPY_OUTPUT", path("spy.log"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    assert!(openssl_accepts(&point(&session, public), b"through the spy", &read("signature")));
    let spied = String::from_utf8_lossy(&read("spy.log")).into_owned();
    assert!(spied.contains("C_SignInit") && !spied.contains("CKR_GENERAL_ERROR"), "{spied}");
}

/// p11-kit's server, ended with the case.
struct Server(Child);

impl Server {
    fn start(socket: &str) -> Self {
        let provider = module_path();
        let mut child = Command::new("p11-kit")
            .args(["server", "--foreground", "--name", socket, "--provider", provider.to_str().unwrap(), "pkcs11:"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("p11-kit is installed");
        let mut told = BufReader::new(child.stdout.take().unwrap());
        let server = Self(child);
        // It says where it listens once it does.
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        assert!(line.starts_with("P11_KIT_SERVER_ADDRESS="), "{line}");
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A client in one process, the token in another, p11-kit's remoting between them. It knows no vendor's mechanisms.
#[test]
fn p11_kit_carries_the_token_to_another_process() {
    in_process("clients::case_p11_kit");
}

#[test]
#[ignore = "run in a process of its own"]
fn case_p11_kit() {
    drop(initialised());
    user(&["--keypairgen", "--key-type", "EC:prime256v1", "--id", "01"]);
    tool(&["--read-object", "--type", "pubkey", "--id", "01", "--output-file", &path("public.der")]);
    std::fs::write(path("digest"), [7; 32]).unwrap();
    let socket = path("socket");
    let _server = Server::start(&socket);
    let output = Command::new("pkcs11-tool")
        .args(["--module", P11_KIT_CLIENT, "--sign", "--mechanism", "ECDSA", "--signature-format", "openssl"])
        .args(LOGIN)
        .args(["--id", "01", "--input-file", &path("digest"), "--output-file", &path("signature")])
        .env("P11_KIT_SERVER_ADDRESS", format!("unix:path={socket}"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    let verify = ["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", &path("public.der")];
    run("openssl", &[&verify[..], &["-in", &path("digest"), "-sigfile", &path("signature")]].concat());
}

#[test]
fn standard_ciphers_and_macs_agree_with_openssl() {
    in_process("clients::case_standard_ciphers");
}

fn session_key(session: &Session, key_type: KeyType, value: &[u8]) -> cryptoki::object::ObjectHandle {
    let uses = [Attribute::Encrypt(true), Attribute::Decrypt(true), Attribute::Sign(true), Attribute::Verify(true)];
    let what =
        [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::KeyType(key_type), Attribute::Value(value.into())];
    session.create_object(&[&what[..], &uses].concat()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
#[ignore = "run in a process of its own"]
fn case_standard_ciphers() {
    let (module, slot) = initialised();
    let session = logged_in(&module, slot);
    let data: Vec<u8> = (0..48).collect();
    std::fs::write(path("data"), &data).unwrap();
    for bytes in [16, 24, 32] {
        let value: Vec<u8> = (0..bytes).collect();
        let key = session_key(&session, KeyType::AES, &value);
        let name = |mode: &str| format!("-aes-{}-{mode}", value.len() * 8);
        let openssl = |mode: &str, more: &[&str]| {
            let (name, key) = (name(mode), hex(&value));
            let (from, to) = (path("data"), path("expected"));
            let arguments = [&["enc", &name, "-K", &key, "-in", &from, "-out", &to], more].concat();
            run("openssl", &arguments);
            read("expected")
        };
        let iv = [9; 16];
        let ecb = session.encrypt(&Mechanism::AesEcb, key, &data).unwrap();
        assert_eq!(ecb, openssl("ecb", &["-nopad"]));
        assert_eq!(session.decrypt(&Mechanism::AesEcb, key, &ecb).unwrap(), data);
        let cbc = session.encrypt(&Mechanism::AesCbcPad(iv), key, &data).unwrap();
        assert_eq!(cbc, openssl("cbc", &["-iv", &hex(&iv)]));
        assert_eq!(session.decrypt(&Mechanism::AesCbcPad(iv), key, &cbc).unwrap(), data);
        let mac = session.sign(&Mechanism::AesCMac, key, &data).unwrap();
        let cipher = format!("AES-{}-CBC", value.len() * 8);
        let key_option = format!("hexkey:{}", hex(&value));
        let said = run("openssl", &["mac", "-cipher", &cipher, "-macopt", &key_option, "-in", &path("data"), "CMAC"]);
        assert_eq!(said.trim().to_lowercase(), hex(&mac));
        let mut nonce = [7; 12];
        let gcm = Mechanism::AesGcm(GcmParams::new(&mut nonce, b"aad", 128_u64.into()).unwrap());
        let mut sealed = session.encrypt(&gcm, key, &data).unwrap();
        assert_eq!(session.decrypt(&gcm, key, &sealed).unwrap(), data);
        sealed[0] ^= 1;
        assert!(session.decrypt(&gcm, key, &sealed).is_err());
    }
    let generic = session_key(&session, KeyType::GENERIC_SECRET, &[0x42; 32]);
    let own = session_key(&session, KeyType::SHA256_HMAC, &[0x42; 32]);
    for (mechanism, digest, secret) in [
        (Mechanism::Sha256Hmac, "sha256", generic),
        (Mechanism::Sha256Hmac, "sha256", own),
        (Mechanism::Sha384Hmac, "sha384", generic),
        (Mechanism::Sha512Hmac, "sha512", generic),
    ] {
        let mac = session.sign(&mechanism, secret, &data).unwrap();
        let key_option = format!("hexkey:{}", "42".repeat(32));
        let said = run("openssl", &["mac", "-digest", digest, "-macopt", &key_option, "-in", &path("data"), "HMAC"]);
        assert_eq!(said.trim().to_lowercase(), hex(&mac));
        session.verify(&mechanism, secret, &data, &mac).unwrap();
    }
    assert!(session.sign(&Mechanism::Sha512Hmac, own, &data).is_err(), "a key for another hash");
    assert!(module.get_mechanism_list(slot).unwrap().contains(&MechanismType::AES_KEY_WRAP));
}
