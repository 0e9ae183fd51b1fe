// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Transcendental results rounded correctly from 300 bits, where processors are known to err by a
//! unit of the last place. (Sines and their like: by the 66-bit pi.)

use super::native::{Instruction, Side};
use crate::x87::F80;

/// The opcode behind 0xd9; rounding control; ST(0); ST(1); the result. F2XM1 (0xf0), FYL2X, FPTAN,
/// FPATAN, FYL2XP1 (0xf9), FSIN (0xfe), FCOS.
const RESULTS: &[(u8, u16, u128, u128, u128)] = &[
    (0xf0, 1, 0xbffd_cd93_fb4d_64d2_2275, 0xc07f_e5b5_daec_1141_0649, 0xbffc_f8c5_26b3_f50d_2f91),
    (0xf0, 3, 0xbff9_8000_0000_01ff_ffff, 0x3ffc_ffff_ffff_ffff_ff80, 0xbff8_b07c_fcc2_e10d_c5ec),
    (0xf0, 3, 0x3fbc_8000_0010_0000_0000, 0xc007_ffff_fff8_0000_4000, 0x3fbb_b172_180e_0012_78a6),
    (0xf0, 1, 0xbffc_8000_4000_0000_0800, 0xc021_ffff_ffff_4000_0000, 0xbffb_a9fa_1a1d_09c7_d4bc),
    (0xf0, 0, 0xbfc5_ffff_ffff_dfff_fff8, 0x401c_8000_0100_0000_0000, 0xbfc5_b172_17f7_bba1_3689),
    (0xf1, 2, 0x3fd4_ffff_ff7f_f800_0000, 0xbffb_8000_0000_0000_4000, 0x4000_a800_0002_e2d7_6bed),
    (0xf1, 2, 0x3ffe_8000_0000_8000_0000, 0x4008_8000_0000_0007_ffff, 0xc007_ffff_fffe_8ebb_89ac),
    (0xf1, 1, 0x3ffd_8000_0000_0008_0100, 0xc003_ffff_ffff_ffff_0000, 0x4004_ffff_ffff_fff3_73ea),
    (0xf1, 2, 0x4d92_ffff_fffe_0000_0000, 0x3fdc_d892_c03b_2711_d5a4, 0x3fe8_b7ca_89a2_32c0_d42f),
    (0xf1, 0, 0x4014_8000_0000_0400_0000, 0xbfed_dcda_5c93_bd0a_0e2b, 0xbff2_90ef_4cc0_f45e_4134),
    (0xf2, 3, 0x3bbe_ffff_8001_0000_0000, 0xbfd9_ffff_ffff_bf80_0000, 0x3bbe_ffff_8001_0000_0000),
    (0xf2, 3, 0xbbf0_8000_000f_fff7_ffff, 0xc030_8002_0000_0000_0000, 0xbbf0_8000_000f_fff7_ffff),
    (0xf2, 3, 0x3fbe_8000_0000_0000_2000, 0xbf70_8000_8000_0000_0000, 0x3fbe_8000_0000_0000_2000),
    (0xf2, 2, 0x3bdf_8007_ffff_fff7_ffff, 0xc02b_8000_8000_0000_0080, 0x3bdf_8007_ffff_fff8_0000),
    (0xf2, 3, 0x3f8b_8000_0000_4000_0000, 0xc021_ffff_feff_ffff_fff0, 0x3f8b_8000_0000_4000_0000),
    (0xf3, 0, 0xbfeb_8000_0000_0007_fff7, 0x401b_807f_bfff_ffff_ffff, 0x3fff_c90f_daa2_2169_41b6),
    (0xf3, 3, 0xc01f_8000_0100_0000_0000, 0xc013_ffc0_0000_0000_0000, 0xc000_c907_dca2_3c07_6e66),
    (0xf3, 1, 0x3ffd_8000_0000_0000_0001, 0x3fc3_ffff_ff00_0400_0000, 0x3fc5_ffff_ff00_03ff_fffe),
    (0xf3, 1, 0x3ffc_ffff_ffdf_ffff_0000, 0x3f77_8040_001f_ffff_ffff, 0x3f79_8040_0030_0800_8640),
    (0xf3, 1, 0x3ffc_ffff_ffff_ffff_ffc0, 0x3bdf_8001_0000_0000_0000, 0x3be1_8001_0000_0000_0020),
    (0xf9, 2, 0x3f76_8008_0000_0000_0400, 0xc000_db1a_c928_a14b_4f34, 0xbf78_9e16_d3d0_8b77_aa69),
    (0xf9, 2, 0xbf6b_8000_0001_0000_0000, 0x43ff_8000_0000_0000_0bff, 0xc36b_b8aa_3b2a_cd6c_785c),
    (0xf9, 3, 0xbbfe_ffff_ffff_ffff_ffe0, 0x4028_8808_0000_0000_0000, 0xbc28_c440_697f_a46f_312d),
    (0xf9, 0, 0x3f7c_8000_0000_0000_0810, 0x401a_fffe_0000_0000_0000, 0x3f98_b8a8_c9d4_e5c5_442d),
    (0xf9, 1, 0x3ffc_8000_0000_0000_0001, 0xbbc7_ffff_ffff_fffc_0000, 0xbbc5_ae00_d1cf_deb1_84fc),
    (0xfe, 3, 0x4009_8008_0000_0000_0000, 0x4010_ffff_bfff_ffff_f000, 0x3ffb_b9b1_50b0_d997_6658),
    (0xfe, 2, 0xc010_ffff_ffff_ffff_8000, 0xc026_8000_0000_03ff_ffff, 0x3ffb_ac40_4e1e_8051_d2c9),
    (0xfe, 2, 0x3ffc_8000_0001_0000_0002, 0xbff9_9f4f_84ab_294c_4652, 0x3ffb_ff55_7776_3373_037c),
    (0xfe, 1, 0x3ffd_8000_0008_0000_2000, 0x402d_ffbc_0000_0000_0000, 0x3ffc_fd57_76b7_1956_438e),
    (0xfe, 0, 0x4000_ffff_ffff_fff8_0000, 0x3ff7_8008_0000_1000_0000, 0xbffe_c1bd_ceee_e0e0_88e1),
    (0xff, 1, 0xbffd_8000_2000_0000_0000, 0x4015_d501_95b2_b1ad_9d9f, 0x3ffe_f80a_a106_911e_67f2),
    (0xff, 1, 0x3ffd_8000_2000_0000_0000, 0xc01c_fffe_ffff_ffff_ffc0, 0x3ffe_f80a_a106_911e_67f2),
    (0xff, 2, 0xc001_8040_0000_0000_0000, 0x3ffe_ffff_ffff_ffff_ffff, 0xbffe_a5d0_66f1_5cba_0ea6),
    (0xff, 3, 0x401b_8000_0000_0000_0001, 0xbffa_8000_0001_0000_0000, 0xbffc_a98a_ea20_13db_7a70),
    (0xff, 1, 0x3ffd_8000_2000_0000_0000, 0x3ff8_e458_e027_1e63_a707, 0x3ffe_f80a_a106_911e_67f2),
];

#[test]
fn transcendental_results_are_rounded_correctly() {
    for (opcode, rounding, st0, st1, expected) in RESULTS.iter().copied() {
        let mut instruction = Instruction::new("transcendental", &[0xd9, opcode]);
        let mut start = Side::new();
        start.x87.control |= rounding << 10;
        start.x87.push(F80::from_bits(st1));
        start.x87.push(F80::from_bits(st0));
        let end = instruction.softly(&start);
        // FPTAN pushes a 1 on top.
        let result = end.x87.raw_st(u8::from(opcode == 0xf2)).to_bits();
        assert_eq!(result, expected, "{opcode:x} {rounding} of {st0:x} and {st1:x}: {result:x}");
    }
}
