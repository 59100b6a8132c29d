using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hyperscope.X64.Decoding;
using V = System.Runtime.Intrinsics.Vector128<byte>;

namespace Hyperscope.X64.Instructions;

/// <summary>Packed integer arithmetic, comparison, logic, packing and interleaving, for XMM and MMX registers.</summary>
internal static class VectorInteger
{
    public static void Register(OpcodeMap map)
    {
        VectorHandlers.Add<PaddB>(map, 0x66, 0x0FFC, "paddb", "sse2");
        MmxHandlers.Add<PaddB>(map, 0x0FFC, "paddb", "mmx");
        VectorHandlers.Add<PaddW>(map, 0x66, 0x0FFD, "paddw", "sse2");
        MmxHandlers.Add<PaddW>(map, 0x0FFD, "paddw", "mmx");
        VectorHandlers.Add<PaddD>(map, 0x66, 0x0FFE, "paddd", "sse2");
        MmxHandlers.Add<PaddD>(map, 0x0FFE, "paddd", "mmx");
        VectorHandlers.Add<PaddQ>(map, 0x66, 0x0FD4, "paddq", "sse2");
        MmxHandlers.Add<PaddQ>(map, 0x0FD4, "paddq", "sse2");
        VectorHandlers.Add<PsubB>(map, 0x66, 0x0FF8, "psubb", "sse2");
        MmxHandlers.Add<PsubB>(map, 0x0FF8, "psubb", "mmx");
        VectorHandlers.Add<PsubW>(map, 0x66, 0x0FF9, "psubw", "sse2");
        MmxHandlers.Add<PsubW>(map, 0x0FF9, "psubw", "mmx");
        VectorHandlers.Add<PsubD>(map, 0x66, 0x0FFA, "psubd", "sse2");
        MmxHandlers.Add<PsubD>(map, 0x0FFA, "psubd", "mmx");
        VectorHandlers.Add<PsubQ>(map, 0x66, 0x0FFB, "psubq", "sse2");
        MmxHandlers.Add<PsubQ>(map, 0x0FFB, "psubq", "sse2");
        VectorHandlers.Add<PaddSb>(map, 0x66, 0x0FEC, "paddsb", "sse2");
        MmxHandlers.Add<PaddSb>(map, 0x0FEC, "paddsb", "mmx");
        VectorHandlers.Add<PaddSw>(map, 0x66, 0x0FED, "paddsw", "sse2");
        MmxHandlers.Add<PaddSw>(map, 0x0FED, "paddsw", "mmx");
        VectorHandlers.Add<PaddUsb>(map, 0x66, 0x0FDC, "paddusb", "sse2");
        MmxHandlers.Add<PaddUsb>(map, 0x0FDC, "paddusb", "mmx");
        VectorHandlers.Add<PaddUsw>(map, 0x66, 0x0FDD, "paddusw", "sse2");
        MmxHandlers.Add<PaddUsw>(map, 0x0FDD, "paddusw", "mmx");
        VectorHandlers.Add<PsubSb>(map, 0x66, 0x0FE8, "psubsb", "sse2");
        MmxHandlers.Add<PsubSb>(map, 0x0FE8, "psubsb", "mmx");
        VectorHandlers.Add<PsubSw>(map, 0x66, 0x0FE9, "psubsw", "sse2");
        MmxHandlers.Add<PsubSw>(map, 0x0FE9, "psubsw", "mmx");
        VectorHandlers.Add<PsubUsb>(map, 0x66, 0x0FD8, "psubusb", "sse2");
        MmxHandlers.Add<PsubUsb>(map, 0x0FD8, "psubusb", "mmx");
        VectorHandlers.Add<PsubUsw>(map, 0x66, 0x0FD9, "psubusw", "sse2");
        MmxHandlers.Add<PsubUsw>(map, 0x0FD9, "psubusw", "mmx");
        VectorHandlers.Add<PmulLw>(map, 0x66, 0x0FD5, "pmullw", "sse2");
        MmxHandlers.Add<PmulLw>(map, 0x0FD5, "pmullw", "mmx");
        VectorHandlers.Add<PmulHw>(map, 0x66, 0x0FE5, "pmulhw", "sse2");
        MmxHandlers.Add<PmulHw>(map, 0x0FE5, "pmulhw", "mmx");
        VectorHandlers.Add<PmulHuw>(map, 0x66, 0x0FE4, "pmulhuw", "sse2");
        MmxHandlers.Add<PmulHuw>(map, 0x0FE4, "pmulhuw", "sse");
        VectorHandlers.Add<PmulUdq>(map, 0x66, 0x0FF4, "pmuludq", "sse2");
        MmxHandlers.Add<PmulUdq>(map, 0x0FF4, "pmuludq", "sse2");
        VectorHandlers.Add<PmaddWd>(map, 0x66, 0x0FF5, "pmaddwd", "sse2");
        MmxHandlers.Add<PmaddWd>(map, 0x0FF5, "pmaddwd", "mmx");
        VectorHandlers.Add<PsadBw>(map, 0x66, 0x0FF6, "psadbw", "sse2");
        MmxHandlers.Add<PsadBw>(map, 0x0FF6, "psadbw", "sse");
        VectorHandlers.Add<PavgB>(map, 0x66, 0x0FE0, "pavgb", "sse2");
        MmxHandlers.Add<PavgB>(map, 0x0FE0, "pavgb", "sse");
        VectorHandlers.Add<PavgW>(map, 0x66, 0x0FE3, "pavgw", "sse2");
        MmxHandlers.Add<PavgW>(map, 0x0FE3, "pavgw", "sse");
        VectorHandlers.Add<PminUb>(map, 0x66, 0x0FDA, "pminub", "sse2");
        MmxHandlers.Add<PminUb>(map, 0x0FDA, "pminub", "sse");
        VectorHandlers.Add<PmaxUb>(map, 0x66, 0x0FDE, "pmaxub", "sse2");
        MmxHandlers.Add<PmaxUb>(map, 0x0FDE, "pmaxub", "sse");
        VectorHandlers.Add<PminSw>(map, 0x66, 0x0FEA, "pminsw", "sse2");
        MmxHandlers.Add<PminSw>(map, 0x0FEA, "pminsw", "sse");
        VectorHandlers.Add<PmaxSw>(map, 0x66, 0x0FEE, "pmaxsw", "sse2");
        MmxHandlers.Add<PmaxSw>(map, 0x0FEE, "pmaxsw", "sse");
        VectorHandlers.Add<PcmpEqB>(map, 0x66, 0x0F74, "pcmpeqb", "sse2");
        MmxHandlers.Add<PcmpEqB>(map, 0x0F74, "pcmpeqb", "mmx");
        VectorHandlers.Add<PcmpEqW>(map, 0x66, 0x0F75, "pcmpeqw", "sse2");
        MmxHandlers.Add<PcmpEqW>(map, 0x0F75, "pcmpeqw", "mmx");
        VectorHandlers.Add<PcmpEqD>(map, 0x66, 0x0F76, "pcmpeqd", "sse2");
        MmxHandlers.Add<PcmpEqD>(map, 0x0F76, "pcmpeqd", "mmx");
        VectorHandlers.Add<PcmpGtB>(map, 0x66, 0x0F64, "pcmpgtb", "sse2");
        MmxHandlers.Add<PcmpGtB>(map, 0x0F64, "pcmpgtb", "mmx");
        VectorHandlers.Add<PcmpGtW>(map, 0x66, 0x0F65, "pcmpgtw", "sse2");
        MmxHandlers.Add<PcmpGtW>(map, 0x0F65, "pcmpgtw", "mmx");
        VectorHandlers.Add<PcmpGtD>(map, 0x66, 0x0F66, "pcmpgtd", "sse2");
        MmxHandlers.Add<PcmpGtD>(map, 0x0F66, "pcmpgtd", "mmx");
        VectorHandlers.Add<Pand>(map, 0x66, 0x0FDB, "pand", "sse2");
        MmxHandlers.Add<Pand>(map, 0x0FDB, "pand", "mmx");
        VectorHandlers.Add<Pandn>(map, 0x66, 0x0FDF, "pandn", "sse2");
        MmxHandlers.Add<Pandn>(map, 0x0FDF, "pandn", "mmx");
        VectorHandlers.Add<Por>(map, 0x66, 0x0FEB, "por", "sse2");
        MmxHandlers.Add<Por>(map, 0x0FEB, "por", "mmx");
        VectorHandlers.Add<Pxor>(map, 0x66, 0x0FEF, "pxor", "sse2");
        MmxHandlers.Add<Pxor>(map, 0x0FEF, "pxor", "mmx");
        VectorHandlers.Add<PunpckLbw>(map, 0x66, 0x0F60, "punpcklbw", "sse2");
        MmxHandlers.Add<PunpckLbw, uint>(map, 0x0F60, "punpcklbw", "mmx");
        VectorHandlers.Add<PunpckLwd>(map, 0x66, 0x0F61, "punpcklwd", "sse2");
        MmxHandlers.Add<PunpckLwd, uint>(map, 0x0F61, "punpcklwd", "mmx");
        VectorHandlers.Add<PunpckLdq>(map, 0x66, 0x0F62, "punpckldq", "sse2");
        MmxHandlers.Add<PunpckLdq, uint>(map, 0x0F62, "punpckldq", "mmx");
        VectorHandlers.Add<PshufB>(map, 0x66, 0xF3800, "pshufb", "ssse3");
        MmxHandlers.Add<MmxHandlers.Permute>(map, 0xF3800, "pshufb", "ssse3");
        VectorHandlers.Add<PhaddW>(map, 0x66, 0xF3801, "phaddw", "ssse3");
        MmxHandlers.Add<MmxHandlers.Joined<PhaddW>>(map, 0xF3801, "phaddw", "ssse3");
        VectorHandlers.Add<PhaddD>(map, 0x66, 0xF3802, "phaddd", "ssse3");
        MmxHandlers.Add<MmxHandlers.Joined<PhaddD>>(map, 0xF3802, "phaddd", "ssse3");
        VectorHandlers.Add<PhaddSw>(map, 0x66, 0xF3803, "phaddsw", "ssse3");
        MmxHandlers.Add<MmxHandlers.Joined<PhaddSw>>(map, 0xF3803, "phaddsw", "ssse3");
        VectorHandlers.Add<PmaddUbsw>(map, 0x66, 0xF3804, "pmaddubsw", "ssse3");
        MmxHandlers.Add<PmaddUbsw>(map, 0xF3804, "pmaddubsw", "ssse3");
        VectorHandlers.Add<PhsubW>(map, 0x66, 0xF3805, "phsubw", "ssse3");
        MmxHandlers.Add<MmxHandlers.Joined<PhsubW>>(map, 0xF3805, "phsubw", "ssse3");
        VectorHandlers.Add<PhsubD>(map, 0x66, 0xF3806, "phsubd", "ssse3");
        MmxHandlers.Add<MmxHandlers.Joined<PhsubD>>(map, 0xF3806, "phsubd", "ssse3");
        VectorHandlers.Add<PhsubSw>(map, 0x66, 0xF3807, "phsubsw", "ssse3");
        MmxHandlers.Add<MmxHandlers.Joined<PhsubSw>>(map, 0xF3807, "phsubsw", "ssse3");
        VectorHandlers.Add<PsignB>(map, 0x66, 0xF3808, "psignb", "ssse3");
        MmxHandlers.Add<PsignB>(map, 0xF3808, "psignb", "ssse3");
        VectorHandlers.Add<PsignW>(map, 0x66, 0xF3809, "psignw", "ssse3");
        MmxHandlers.Add<PsignW>(map, 0xF3809, "psignw", "ssse3");
        VectorHandlers.Add<PsignD>(map, 0x66, 0xF380A, "psignd", "ssse3");
        MmxHandlers.Add<PsignD>(map, 0xF380A, "psignd", "ssse3");
        VectorHandlers.Add<PmulHrsw>(map, 0x66, 0xF380B, "pmulhrsw", "ssse3");
        MmxHandlers.Add<PmulHrsw>(map, 0xF380B, "pmulhrsw", "ssse3");
        VectorHandlers.Add<PabsB>(map, 0x66, 0xF381C, "pabsb", "ssse3");
        MmxHandlers.Add<PabsB>(map, 0xF381C, "pabsb", "ssse3");
        VectorHandlers.Add<PabsW>(map, 0x66, 0xF381D, "pabsw", "ssse3");
        MmxHandlers.Add<PabsW>(map, 0xF381D, "pabsw", "ssse3");
        VectorHandlers.Add<PabsD>(map, 0x66, 0xF381E, "pabsd", "ssse3");
        MmxHandlers.Add<PabsD>(map, 0xF381E, "pabsd", "ssse3");
        VectorHandlers.Add<PackSswb>(map, 0x66, 0x0F63, "packsswb", "sse2");
        MmxHandlers.Add<MmxHandlers.Joined<PackSswb>>(map, 0x0F63, "packsswb", "mmx");
        VectorHandlers.Add<PackSsdw>(map, 0x66, 0x0F6B, "packssdw", "sse2");
        MmxHandlers.Add<MmxHandlers.Joined<PackSsdw>>(map, 0x0F6B, "packssdw", "mmx");
        VectorHandlers.Add<PackUswb>(map, 0x66, 0x0F67, "packuswb", "sse2");
        MmxHandlers.Add<MmxHandlers.Joined<PackUswb>>(map, 0x0F67, "packuswb", "mmx");
        VectorHandlers.Add<PunpckHbw>(map, 0x66, 0x0F68, "punpckhbw", "sse2");
        MmxHandlers.Add<MmxHandlers.UpperOf<PunpckLbw>>(map, 0x0F68, "punpckhbw", "mmx");
        VectorHandlers.Add<PunpckHwd>(map, 0x66, 0x0F69, "punpckhwd", "sse2");
        MmxHandlers.Add<MmxHandlers.UpperOf<PunpckLwd>>(map, 0x0F69, "punpckhwd", "mmx");
        VectorHandlers.Add<PunpckHdq>(map, 0x66, 0x0F6A, "punpckhdq", "sse2");
        MmxHandlers.Add<MmxHandlers.UpperOf<PunpckLdq>>(map, 0x0F6A, "punpckhdq", "mmx");
        VectorHandlers.Add<PunpckLqdq>(map, 0x66, 0x0F6C, "punpcklqdq", "sse2");
        VectorHandlers.Add<PunpckHqdq>(map, 0x66, 0x0F6D, "punpckhqdq", "sse2");
        VectorHandlers.Add<PcmpEqQ>(map, 0x66, 0xF3829, "pcmpeqq", "sse4.1");
        VectorHandlers.Add<PcmpGtQ>(map, 0x66, 0xF3837, "pcmpgtq", "sse4.2");
        VectorHandlers.Add<PackUsdw>(map, 0x66, 0xF382B, "packusdw", "sse4.1");
        VectorHandlers.Add<PmulDq>(map, 0x66, 0xF3828, "pmuldq", "sse4.1");
        VectorHandlers.Add<PmulLd>(map, 0x66, 0xF3840, "pmulld", "sse4.1");
        VectorHandlers.Add<PhminPosUw>(map, 0x66, 0xF3841, "phminposuw", "sse4.1");
        VectorHandlers.Add<PminSb>(map, 0x66, 0xF3838, "pminsb", "sse4.1");
        VectorHandlers.Add<PminSd>(map, 0x66, 0xF3839, "pminsd", "sse4.1");
        VectorHandlers.Add<PminUw>(map, 0x66, 0xF383A, "pminuw", "sse4.1");
        VectorHandlers.Add<PminUd>(map, 0x66, 0xF383B, "pminud", "sse4.1");
        VectorHandlers.Add<PmaxSb>(map, 0x66, 0xF383C, "pmaxsb", "sse4.1");
        VectorHandlers.Add<PmaxSd>(map, 0x66, 0xF383D, "pmaxsd", "sse4.1");
        VectorHandlers.Add<PmaxUw>(map, 0x66, 0xF383E, "pmaxuw", "sse4.1");
        VectorHandlers.Add<PmaxUd>(map, 0x66, 0xF383F, "pmaxud", "sse4.1");
    }

    internal readonly struct PaddB : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.Add(first, second); }

    internal readonly struct PaddW : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.Add(first.AsInt16(), second.AsInt16()).AsByte(); }

    internal readonly struct PaddD : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.Add(first.AsInt32(), second.AsInt32()).AsByte(); }

    internal readonly struct PaddQ : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.Add(first.AsInt64(), second.AsInt64()).AsByte(); }

    internal readonly struct PsubB : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.Subtract(first, second); }

    internal readonly struct PsubW : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.Subtract(first.AsInt16(), second.AsInt16()).AsByte(); }

    internal readonly struct PsubD : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.Subtract(first.AsInt32(), second.AsInt32()).AsByte(); }

    internal readonly struct PsubQ : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.Subtract(first.AsInt64(), second.AsInt64()).AsByte(); }

    internal readonly struct PaddSb : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.AddSaturate(first.AsSByte(), second.AsSByte()).AsByte(); }

    internal readonly struct PaddSw : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.AddSaturate(first.AsInt16(), second.AsInt16()).AsByte(); }

    internal readonly struct PaddUsb : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.AddSaturate(first, second); }

    internal readonly struct PaddUsw : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.AddSaturate(first.AsUInt16(), second.AsUInt16()).AsByte(); }

    internal readonly struct PsubSb : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.SubtractSaturate(first.AsSByte(), second.AsSByte()).AsByte(); }

    internal readonly struct PsubSw : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.SubtractSaturate(first.AsInt16(), second.AsInt16()).AsByte(); }

    internal readonly struct PsubUsb : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.SubtractSaturate(first, second); }

    internal readonly struct PsubUsw : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.SubtractSaturate(first.AsUInt16(), second.AsUInt16()).AsByte(); }

    internal readonly struct PmulLw : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.MultiplyLow(first.AsInt16(), second.AsInt16()).AsByte(); }

    internal readonly struct PmulHw : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.MultiplyHigh(first.AsInt16(), second.AsInt16()).AsByte(); }

    internal readonly struct PmulHuw : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.MultiplyHigh(first.AsUInt16(), second.AsUInt16()).AsByte(); }

    internal readonly struct PmulUdq : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.Multiply(first.AsUInt32(), second.AsUInt32()).AsByte(); }

    internal readonly struct PmaddWd : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.MultiplyAddAdjacent(first.AsInt16(), second.AsInt16()).AsByte(); }

    internal readonly struct PsadBw : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.SumAbsoluteDifferences(first, second).AsByte(); }

    internal readonly struct PavgB : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.Average(first, second); }

    internal readonly struct PavgW : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.Average(first.AsUInt16(), second.AsUInt16()).AsByte(); }

    internal readonly struct PminUb : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.Min(first, second); }

    internal readonly struct PmaxUb : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.Max(first, second); }

    internal readonly struct PminSw : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.Min(first.AsInt16(), second.AsInt16()).AsByte(); }

    internal readonly struct PmaxSw : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.Max(first.AsInt16(), second.AsInt16()).AsByte(); }

    internal readonly struct PcmpEqB : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.CompareEqual(first, second); }

    internal readonly struct PcmpEqW : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.CompareEqual(first.AsInt16(), second.AsInt16()).AsByte(); }

    internal readonly struct PcmpEqD : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.CompareEqual(first.AsInt32(), second.AsInt32()).AsByte(); }

    internal readonly struct PcmpGtB : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.CompareGreaterThan(first.AsSByte(), second.AsSByte()).AsByte(); }

    internal readonly struct PcmpGtW : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.CompareGreaterThan(first.AsInt16(), second.AsInt16()).AsByte(); }

    internal readonly struct PcmpGtD : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.CompareGreaterThan(first.AsInt32(), second.AsInt32()).AsByte(); }

    internal readonly struct Pand : IVectorOp { public static V Apply(V first, V second, int immediate) => first & second; }

    internal readonly struct Pandn : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.AndNot(first, second); }

    internal readonly struct Por : IVectorOp { public static V Apply(V first, V second, int immediate) => first | second; }

    internal readonly struct Pxor : IVectorOp { public static V Apply(V first, V second, int immediate) => first ^ second; }

    internal readonly struct PunpckLbw : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.UnpackLow(first, second); }

    internal readonly struct PunpckLwd : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.UnpackLow(first.AsInt16(), second.AsInt16()).AsByte(); }

    internal readonly struct PunpckLdq : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.UnpackLow(first.AsInt32(), second.AsInt32()).AsByte(); }

    internal readonly struct PshufB : IVectorOp { public static V Apply(V first, V second, int immediate) => Ssse3.Shuffle(first, second); }

    internal readonly struct PhaddW : IVectorOp { public static V Apply(V first, V second, int immediate) => Ssse3.HorizontalAdd(first.AsInt16(), second.AsInt16()).AsByte(); }

    internal readonly struct PhaddD : IVectorOp { public static V Apply(V first, V second, int immediate) => Ssse3.HorizontalAdd(first.AsInt32(), second.AsInt32()).AsByte(); }

    internal readonly struct PhaddSw : IVectorOp { public static V Apply(V first, V second, int immediate) => Ssse3.HorizontalAddSaturate(first.AsInt16(), second.AsInt16()).AsByte(); }

    internal readonly struct PmaddUbsw : IVectorOp { public static V Apply(V first, V second, int immediate) => Ssse3.MultiplyAddAdjacent(first, second.AsSByte()).AsByte(); }

    internal readonly struct PhsubW : IVectorOp { public static V Apply(V first, V second, int immediate) => Ssse3.HorizontalSubtract(first.AsInt16(), second.AsInt16()).AsByte(); }

    internal readonly struct PhsubD : IVectorOp { public static V Apply(V first, V second, int immediate) => Ssse3.HorizontalSubtract(first.AsInt32(), second.AsInt32()).AsByte(); }

    internal readonly struct PhsubSw : IVectorOp { public static V Apply(V first, V second, int immediate) => Ssse3.HorizontalSubtractSaturate(first.AsInt16(), second.AsInt16()).AsByte(); }

    internal readonly struct PsignB : IVectorOp { public static V Apply(V first, V second, int immediate) => Ssse3.Sign(first.AsSByte(), second.AsSByte()).AsByte(); }

    internal readonly struct PsignW : IVectorOp { public static V Apply(V first, V second, int immediate) => Ssse3.Sign(first.AsInt16(), second.AsInt16()).AsByte(); }

    internal readonly struct PsignD : IVectorOp { public static V Apply(V first, V second, int immediate) => Ssse3.Sign(first.AsInt32(), second.AsInt32()).AsByte(); }

    internal readonly struct PmulHrsw : IVectorOp { public static V Apply(V first, V second, int immediate) => Ssse3.MultiplyHighRoundScale(first.AsInt16(), second.AsInt16()).AsByte(); }

    internal readonly struct PabsB : IVectorOp { public static V Apply(V first, V second, int immediate) => Ssse3.Abs(second.AsSByte()); }

    internal readonly struct PabsW : IVectorOp { public static V Apply(V first, V second, int immediate) => Ssse3.Abs(second.AsInt16()).AsByte(); }

    internal readonly struct PabsD : IVectorOp { public static V Apply(V first, V second, int immediate) => Ssse3.Abs(second.AsInt32()).AsByte(); }

    internal readonly struct PackSswb : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.PackSignedSaturate(first.AsInt16(), second.AsInt16()).AsByte(); }

    internal readonly struct PackSsdw : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.PackSignedSaturate(first.AsInt32(), second.AsInt32()).AsByte(); }

    internal readonly struct PackUswb : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.PackUnsignedSaturate(first.AsInt16(), second.AsInt16()); }

    internal readonly struct PunpckHbw : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.UnpackHigh(first, second); }

    internal readonly struct PunpckHwd : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.UnpackHigh(first.AsInt16(), second.AsInt16()).AsByte(); }

    internal readonly struct PunpckHdq : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.UnpackHigh(first.AsInt32(), second.AsInt32()).AsByte(); }

    internal readonly struct PunpckLqdq : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.UnpackLow(first.AsInt64(), second.AsInt64()).AsByte(); }

    internal readonly struct PunpckHqdq : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse2.UnpackHigh(first.AsInt64(), second.AsInt64()).AsByte(); }

    internal readonly struct PcmpEqQ : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.CompareEqual(first.AsInt64(), second.AsInt64()).AsByte(); }

    internal readonly struct PcmpGtQ : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse42.CompareGreaterThan(first.AsInt64(), second.AsInt64()).AsByte(); }

    internal readonly struct PackUsdw : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.PackUnsignedSaturate(first.AsInt32(), second.AsInt32()).AsByte(); }

    internal readonly struct PmulDq : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.Multiply(first.AsInt32(), second.AsInt32()).AsByte(); }

    internal readonly struct PmulLd : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.MultiplyLow(first.AsInt32(), second.AsInt32()).AsByte(); }

    internal readonly struct PhminPosUw : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.MinHorizontal(second.AsUInt16()).AsByte(); }

    internal readonly struct PminSb : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.Min(first.AsSByte(), second.AsSByte()).AsByte(); }

    internal readonly struct PminSd : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.Min(first.AsInt32(), second.AsInt32()).AsByte(); }

    internal readonly struct PminUw : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.Min(first.AsUInt16(), second.AsUInt16()).AsByte(); }

    internal readonly struct PminUd : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.Min(first.AsUInt32(), second.AsUInt32()).AsByte(); }

    internal readonly struct PmaxSb : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.Max(first.AsSByte(), second.AsSByte()).AsByte(); }

    internal readonly struct PmaxSd : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.Max(first.AsInt32(), second.AsInt32()).AsByte(); }

    internal readonly struct PmaxUw : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.Max(first.AsUInt16(), second.AsUInt16()).AsByte(); }

    internal readonly struct PmaxUd : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.Max(first.AsUInt32(), second.AsUInt32()).AsByte(); }
}
