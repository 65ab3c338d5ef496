//! Hash functions of other systems, as far as no crate of this library has them.

use sha2::{Digest, Sha256};

/// CRC-32 as in zip and Ethernet (CRC-32/ISO-HDLC).
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;

    let shift = |crc: u32| (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
    let step = |crc, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| shift(crc));
    !bytes.iter().fold(u32::MAX, step)
}

const FNV64_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV64_PRIME: u64 = 0x0100_0000_01b3;

/// FNV-1a, 64 bits: mixes each byte in, then multiplies.
pub(super) fn fnv1a_64(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(FNV64_PRIME);
    bytes.iter().fold(FNV64_OFFSET, step)
}

/// FNV-1, 64 bits: multiplies, then mixes each byte in.
pub(super) fn fnv1_64(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| hash.wrapping_mul(FNV64_PRIME) ^ u64::from(*byte);
    bytes.iter().fold(FNV64_OFFSET, step)
}

/// FNV-1, 32 bits.
pub(super) fn fnv1_32(bytes: &[u8]) -> u32 {
    let step = |hash: u32, byte: &u8| hash.wrapping_mul(0x0100_0193) ^ u32::from(*byte);
    bytes.iter().fold(0x811c_9dc5, step)
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The first 32 bytes of HKDF-SHA256 (RFC 5869) without a salt.
pub(super) fn hkdf_sha256(key_material: &[u8], info: &[u8]) -> [u8; 32] {
    let key = hmac_sha256([0; 32], &[key_material]);
    hmac_sha256(key, &[info, &[1]])
}

/// HMAC (RFC 2104), for keys as long as the hash.
fn hmac_sha256(key: [u8; 32], message: &[&[u8]]) -> [u8; 32] {
    let padded = |pad: u8| {
        let mut hash = Sha256::new();
        hash.update(key.map(|byte| byte ^ pad));
        hash.update([pad; 32]);
        hash
    };
    let mut inner = padded(0x36);
    message.iter().for_each(|part| inner.update(part));
    let mut outer = padded(0x5c);
    outer.update(inner.finalize());
    outer.finalize().into()
}

/// `hash_bytes_extended` of PostgreSQL on a little-endian server, which is lookup3 by Bob Jenkins:
/// `src/common/hashfn.c`. The lower half is `hash_bytes` if the seed is 0.
pub(super) fn lookup3(bytes: &[u8], seed: u64) -> u64 {
    let length = bytes.len() as u32;
    let mut state = [0x9e37_79b9_u32.wrapping_add(length).wrapping_add(3_923_095); 3];
    if seed != 0 {
        state = mix(add(state, [(seed >> 32) as u32, seed as u32, 0]));
    }
    let (blocks, rest) = bytes.as_chunks();
    for block in blocks {
        state = mix(add(state, words(*block)));
    }
    let mut last = [0; 12];
    for (at, byte) in rest.iter().enumerate() {
        // The lowest byte of the last word belongs to the length.
        last[if at < 8 { at } else { at + 1 }] = *byte;
    }
    let [_, b, c] = finish(add(state, words(last)));
    (u64::from(b) << 32) | u64::from(c)
}

fn words(block: [u8; 12]) -> [u32; 3] {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = block;
    [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_le_bytes)
}

fn add([a, b, c]: [u32; 3], [x, y, z]: [u32; 3]) -> [u32; 3] {
    [a.wrapping_add(x), b.wrapping_add(y), c.wrapping_add(z)]
}

fn mix([mut a, mut b, mut c]: [u32; 3]) -> [u32; 3] {
    for rotations in [[4, 6, 8], [16, 19, 4]] {
        a = a.wrapping_sub(c) ^ c.rotate_left(rotations[0]);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(rotations[1]);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(rotations[2]);
        b = b.wrapping_add(a);
    }
    [a, b, c]
}

fn finish([mut a, mut b, mut c]: [u32; 3]) -> [u32; 3] {
    let step = |to: u32, from: u32, rotation| (to ^ from).wrapping_sub(from.rotate_left(rotation));
    c = step(c, b, 14);
    a = step(a, c, 11);
    b = step(b, a, 25);
    c = step(c, b, 16);
    a = step(a, c, 4);
    b = step(b, a, 14);
    c = step(c, b, 24);
    [a, b, c]
}
