"""PyKCS11 drives the token: SM2 and SM4 by vendors' numbers, the standard's mechanisms, wrapping, random bytes, a wrong PIN.

usage: pykcs11.py MODULE DIRECTORY     (BIXI_TOKEN_CONF names a configuration that allows import and extractable keys)

What is signed goes to files in DIRECTORY, where OpenSSL judges it afterwards.
"""
import hashlib
import sys
from pathlib import Path

import PyKCS11
from PyKCS11 import LowLevel as ck

SO_PIN, USER_PIN = "so-secret-1", "user-secret-1"
SM2_PAIR, SM2_MESSAGE_DER, SM4_KEY, SM4_CBC_PAD, CKK_SM2, CKK_SM4 = (
    0x80008001, 0x80008103, 0x80000107, 0x8000A201, 0x80000004, 0x80000106)
SEALED_IN = [(ck.CKA_TOKEN, True), (ck.CKA_PRIVATE, True), (ck.CKA_SENSITIVE, True)]
# SubjectPublicKeyInfo of a key on the SM2 curve, up to the point.
SPKI_HEAD = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d034200")
MESSAGE = b"signed through PyKCS11"


def expect(fact, what):
    if not fact:
        sys.exit(f"pykcs11.py: {what}")


def refused(code, call):
    try:
        call()
    except PyKCS11.PyKCS11Error as error:
        expect(error.value == code, f"refused with {error}, not 0x{code:X}")
        return
    sys.exit(f"pykcs11.py: accepted; 0x{code:X} was expected")


def mechanism(number, parameter=None):
    return PyKCS11.Mechanism(number, parameter)


def initialise(library):
    slot = library.getSlotList(tokenPresent=True)[0]
    library.initToken(slot, SO_PIN, "pykcs11")
    session = library.openSession(slot, ck.CKF_SERIAL_SESSION | ck.CKF_RW_SESSION)
    session.login(SO_PIN, ck.CKU_SO)
    session.initPin(USER_PIN)
    session.logout()
    return session


def pair(session, number, public, identity):
    named = [(ck.CKA_TOKEN, True), (ck.CKA_ID, identity)]
    return session.generateKeyPair(named + public + [(ck.CKA_VERIFY, True)],
                                   named + [(ck.CKA_PRIVATE, True), (ck.CKA_SIGN, True)], mecha=mechanism(number))


def signatures(session, directory):
    public, private = pair(session, SM2_PAIR, [(ck.CKA_KEY_TYPE, CKK_SM2)], b"\x01")
    signature = bytes(session.sign(private, MESSAGE, mechanism(SM2_MESSAGE_DER)))
    expect(session.verify(public, MESSAGE, signature, mechanism(SM2_MESSAGE_DER)), "the token refuses its own SM2 signature")
    (directory / "sm2.sig").write_bytes(signature)
    point = bytes(session.getAttributeValue(public, [ck.CKA_EC_POINT])[0])
    (directory / "sm2.der").write_bytes(SPKI_HEAD + point[2:])
    p256 = bytes.fromhex("06082A8648CE3D030107")
    public, private = pair(session, ck.CKM_EC_KEY_PAIR_GEN, [(ck.CKA_EC_PARAMS, p256)], b"\x02")
    digest = hashlib.sha256(MESSAGE).digest()
    signature = bytes(session.sign(private, digest, mechanism(ck.CKM_ECDSA)))
    expect(session.verify(public, digest, signature, mechanism(ck.CKM_ECDSA)), "the token refuses its own ECDSA signature")
    expect(session.verify(public, MESSAGE, signature, mechanism(ck.CKM_ECDSA_SHA256)), "hashing on the token differs")
    # PyKCS11 answers None for what may not be read.
    expect(not session.getAttributeValue(private, [ck.CKA_VALUE])[0], "a private key was given out")


def ciphers(session):
    for number, key_type, cipher in [(SM4_KEY, CKK_SM4, SM4_CBC_PAD), (ck.CKM_AES_KEY_GEN, ck.CKK_AES, ck.CKM_AES_CBC_PAD)]:
        template = SEALED_IN + [(ck.CKA_CLASS, ck.CKO_SECRET_KEY), (ck.CKA_KEY_TYPE, key_type), (ck.CKA_VALUE_LEN, 16),
                                (ck.CKA_ENCRYPT, True), (ck.CKA_DECRYPT, True)]
        key = session.generateKey(template, mecha=mechanism(number))
        iv = bytes(range(16))
        sealed = bytes(session.encrypt(key, MESSAGE, mechanism(cipher, iv)))
        expect(len(sealed) == 32, f"{len(sealed)} bytes of ciphertext")
        expect(bytes(session.decrypt(key, sealed, mechanism(cipher, iv))) == MESSAGE, "decryption gives something else")


def wrapping(session):
    aes = SEALED_IN + [(ck.CKA_CLASS, ck.CKO_SECRET_KEY), (ck.CKA_KEY_TYPE, ck.CKK_AES)]
    generate = lambda more: session.generateKey(aes + [(ck.CKA_VALUE_LEN, 16)] + more, mecha=mechanism(ck.CKM_AES_KEY_GEN))
    kek = generate([(ck.CKA_WRAP, True), (ck.CKA_UNWRAP, True)])
    leaves, stays = generate([(ck.CKA_EXTRACTABLE, True)]), generate([])
    wrapped = bytes(session.wrapKey(kek, leaves, mechanism(ck.CKM_AES_KEY_WRAP)))
    expect(len(wrapped) == 24, f"{len(wrapped)} bytes of a wrapped key")
    back = session.unwrapKey(kek, wrapped, aes + [(ck.CKA_ENCRYPT, True)], mechanism(ck.CKM_AES_KEY_WRAP))
    encrypt = lambda key: bytes(session.encrypt(key, bytes(16), mechanism(ck.CKM_AES_ECB)))
    expect(encrypt(back) == encrypt(leaves), "another key came back")
    refused(ck.CKR_KEY_UNEXTRACTABLE, lambda: session.wrapKey(kek, stays, mechanism(ck.CKM_AES_KEY_WRAP)))


def main():
    module, directory = sys.argv[1], Path(sys.argv[2])
    library = PyKCS11.PyKCS11Lib()
    library.load(module)
    session = initialise(library)
    refused(ck.CKR_PIN_INCORRECT, lambda: session.login("wrong-pin"))
    session.login(USER_PIN)
    signatures(session, directory)
    ciphers(session)
    wrapping(session)
    expect(bytes(session.generateRandom(64)) != bytes(session.generateRandom(64)), "random bytes repeat")
    (directory / "message").write_bytes(MESSAGE)
    print("PyKCS11: keys, signatures, ciphers, wrapping, random bytes and a wrong PIN as they should be")


main()
