//! One end of a TLS 1.3 connection with SM2, SM3 and SM4, by Tongsuo.
//!
//! ```text
//! tongsuo-peer serve   CERTIFICATE KEY CA          prints its port, takes one connection, sends back what it reads
//! tongsuo-peer connect CERTIFICATE KEY CA ADDRESS  connects, sends 100,000 bytes, wants them back
//! ```
//! `-` for CERTIFICATE and KEY shows none. `INTEROP_SUITE` names another cipher suite than RFC 8998's to offer. The last line on standard output is `agreed PROTOCOL CIPHER` or `refused REASON`.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use tongsuo::error::ErrorStack;
use tongsuo::ssl::{
    Ssl, SslContext, SslContextBuilder, SslFiletype, SslMethod, SslStream, SslVerifyMode, SslVersion,
};

const BYTES: usize = 100_000;

fn context(certificate: &str, key: &str, ca: &str) -> Result<SslContext, ErrorStack> {
    let mut context: SslContextBuilder = SslContext::builder(SslMethod::tls())?;
    context.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    let suite = std::env::var("INTEROP_SUITE").ok();
    context.set_ciphersuites(suite.as_deref().unwrap_or("TLS_SM4_GCM_SM3"))?;
    context.set_groups_list("SM2")?;
    context.set_sigalgs_list("sm2sig_sm3")?;
    if suite.is_none() {
        context.enable_sm_tls13_strict();
    }
    context.set_ca_file(ca)?;
    context.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    if certificate != "-" {
        context.set_certificate_file(certificate, SslFiletype::PEM)?;
        context.set_private_key_file(key, SslFiletype::PEM)?;
    }
    Ok(context.build())
}

fn report(stream: &SslStream<TcpStream>) {
    let cipher = stream.ssl().current_cipher().map_or("none", |cipher| cipher.name());
    println!("agreed {} {cipher}", stream.ssl().version_str());
}

fn serve(context: &SslContext) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    println!("{}", listener.local_addr().map_err(|error| error.to_string())?.port());
    let (stream, _) = listener.accept().map_err(|error| error.to_string())?;
    let ssl = Ssl::new(context).map_err(|error| error.to_string())?;
    let mut stream = ssl.accept(stream).map_err(|error| error.to_string())?;
    let mut buffer = vec![0; BYTES];
    stream.read_exact(&mut buffer).map_err(|error| error.to_string())?;
    stream.write_all(&buffer).map_err(|error| error.to_string())?;
    report(&stream);
    let _ = stream.shutdown();
    Ok(())
}

fn connect(context: &SslContext, address: &str) -> Result<(), String> {
    let stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    let ssl = Ssl::new(context).map_err(|error| error.to_string())?;
    let mut stream = ssl.connect(stream).map_err(|error| error.to_string())?;
    let sent: Vec<u8> = (0..BYTES).map(|index| index as u8).collect();
    stream.write_all(&sent).map_err(|error| error.to_string())?;
    let mut back = vec![0; BYTES];
    stream.read_exact(&mut back).map_err(|error| error.to_string())?;
    if back != sent {
        return Err("other bytes came back".into());
    }
    report(&stream);
    let _ = stream.shutdown();
    Ok(())
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ended = match words[..] {
        ["serve", certificate, key, ca] => {
            context(certificate, key, ca).map_err(|error| error.to_string()).and_then(|context| serve(&context))
        }
        ["connect", certificate, key, ca, address] => context(certificate, key, ca)
            .map_err(|error| error.to_string())
            .and_then(|context| connect(&context, address)),
        _ => {
            eprintln!("usage: tongsuo-peer serve CERTIFICATE KEY CA | connect CERTIFICATE KEY CA ADDRESS");
            std::process::exit(2);
        }
    };
    if let Err(reason) = ended {
        println!("refused {reason}");
        std::process::exit(1);
    }
}
