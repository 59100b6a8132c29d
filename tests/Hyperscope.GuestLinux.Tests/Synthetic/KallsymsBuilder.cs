using System.Text;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>Layouts of kallsyms that a test can ask for.</summary>
public enum KallsymsEra
{
    /// <summary>Offsets first; names of up to 127 packed bytes.</summary>
    Linux515,

    /// <summary>The same, with longer names.</summary>
    Linux61,

    /// <summary>seqs_of_names before the tokens.</summary>
    Linux62,

    /// <summary>Offsets last.</summary>
    Linux64,

    /// <summary>The same, all offsets counted from the base.</summary>
    Linux615,
}

/// <summary>Writes the tables as a kernel of some version has them.</summary>
internal static class KallsymsBuilder
{
    private static readonly string[] Words = ["sys_", "__x64_", "init", "task", "do_", "_table", "struct", "ing", "er", "_s", "net", "read"];

    /// <summary>The tables, starting at a multiple of 8.</summary>
    /// <param name="era">Which layout.</param>
    /// <param name="symbols">In order of addresses, values below <paramref name="origin"/> first.</param>
    /// <param name="origin">relative_base.</param>
    public static byte[] Build(KallsymsEra era, IReadOnlyList<(ulong Address, char Type, string Name)> symbols, ulong origin)
    {
        string[] tokens = [.. Enumerable.Range(0, 256).Select(static code => code is > 32 and < 127 ? $"{(char)code}" : "")];
        for (int i = 0; i < Words.Length; i++)
            tokens[128 + i] = Words[i];
        var names = new List<byte>();
        var markers = new List<uint>();
        for (int i = 0; i < symbols.Count; i++)
        {
            if (i % 256 == 0)
                markers.Add((uint)names.Count);
            byte[] packed = Pack(symbols[i].Type + symbols[i].Name);
            if (packed.Length > 127)
            {
                Assert.True(era != KallsymsEra.Linux515, "no long names before 6.1");
                names.Add((byte)(packed.Length & 0x7f | 0x80));
                names.Add((byte)(packed.Length >> 7));
            }
            else
            {
                names.Add((byte)packed.Length);
            }

            names.AddRange(packed);
        }

        var table = new List<byte>();
        var index = new List<byte>();
        foreach (string token in tokens)
        {
            index.AddRange(BitConverter.GetBytes((ushort)table.Count));
            table.AddRange(Encoding.ASCII.GetBytes(token));
            table.Add(0);
        }

        byte[] offsets = [.. symbols.SelectMany(symbol => BitConverter.GetBytes(Offset(era, symbol.Address, origin)))];
        byte[] relativeBase = BitConverter.GetBytes(origin), count = BitConverter.GetBytes(symbols.Count);
        byte[] sequence = [.. Enumerable.Range(0, symbols.Count).SelectMany(static i => new[] { (byte)(i >> 16), (byte)(i >> 8), (byte)i })];
        byte[] positions = [.. markers.SelectMany(BitConverter.GetBytes)];
        byte[] packedNames = [.. names], tokenTable = [.. table], tokenIndex = [.. index];
        byte[][] parts = era switch
        {
            KallsymsEra.Linux515 or KallsymsEra.Linux61 => [offsets, relativeBase, count, packedNames, positions, tokenTable, tokenIndex],
            KallsymsEra.Linux62 => [offsets, relativeBase, count, packedNames, positions, sequence, tokenTable, tokenIndex],
            _ => [count, packedNames, positions, tokenTable, tokenIndex, offsets, relativeBase, sequence],
        };
        var result = new List<byte>();
        foreach (byte[] part in parts)
        {
            result.AddRange(part);
            while (result.Count % 8 != 0)
                result.Add(0);
        }

        return [.. result];
    }

    private static int Offset(KallsymsEra era, ulong address, ulong origin) =>
        era == KallsymsEra.Linux615 ? (int)(address - origin) : address < origin ? (int)address : (int)(-1 - (long)(address - origin));

    private static byte[] Pack(string text)
    {
        var packed = new List<byte>();
        for (int at = 0; at < text.Length;)
        {
            // The type letter may be part of a token as well.
            int word = Array.FindIndex(Words, candidate => string.CompareOrdinal(text, at, candidate, 0, candidate.Length) == 0);
            packed.Add(word < 0 ? (byte)text[at] : (byte)(128 + word));
            at += word < 0 ? 1 : Words[word].Length;
        }

        return [.. packed];
    }
}
