using System.Buffers.Binary;
using System.Globalization;
using Hyperscope.Vm;

namespace Hyperscope.Kvm.Tests;

/// <summary>What the kernel says of this process's memory.</summary>
internal static class HostMemory
{
    /// <summary>What may be done with each of some pages, as /proc/self/maps has it; what userfaultfd write-protects counts as read-only.</summary>
    public static string[] ProtectionsOf(nint address, int pages)
    {
        ulong start = (ulong)address;
        string[] found = new string[pages];
        Array.Fill(found, "unmapped");
        foreach (string line in File.ReadLines("/proc/self/maps"))
        {
            string[] fields = line.Split(' ', 3), range = fields[0].Split('-');
            ulong from = Math.Max(Number(range[0]), start), to = Math.Min(Number(range[1]), start + ((ulong)pages * Gfn.PageSize));
            for (ulong page = from; page < to; page += Gfn.PageSize)
                found[(page - start) / Gfn.PageSize] = fields[1];
        }

        byte[] entries = ReadPageMap(start, pages);
        const ulong WriteProtected = 1UL << 57; // PM_UFFD_WP
        for (int page = 0; page < pages; page++)
        {
            if (found[page] == "rw-s" && (BinaryPrimitives.ReadUInt64LittleEndian(entries.AsSpan(page * 8)) & WriteProtected) != 0)
                found[page] = "r--s";
        }

        return found;
    }

    private static byte[] ReadPageMap(ulong start, int pages)
    {
        byte[] entries = new byte[pages * 8];
        using FileStream map = new("/proc/self/pagemap", FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
        map.Position = (long)(start / Gfn.PageSize * 8);
        map.ReadExactly(entries);
        return entries;
    }

    private static ulong Number(string hex) => ulong.Parse(hex, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
}
