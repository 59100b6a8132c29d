using System.Buffers.Binary;
using Hyperscope.Vm;

namespace Hyperscope.Machine;

/// <summary>The information block of the PVH entry, version 1. Source: Xen's public/arch-x86/hvm/start_info.h.</summary>
internal static class PvhStartInfo
{
    private const uint Magic = 0x336ec578, Version = 1;
    private const int InfoBytes = 56, ModuleBytes = 32, RangeBytes = 24;

    public static MemoryPiece Build(ulong address, Gpa commandLine, MemoryPiece? initrd, LinuxBootOptions options)
    {
        IReadOnlyList<MemoryRange> ranges = options.Memory.Ranges;
        int moduleOffset = InfoBytes;
        int mapOffset = moduleOffset + ModuleBytes;
        byte[] block = new byte[mapOffset + (ranges.Count * RangeBytes)];
        Double(0, Magic);
        Double(4, Version);
        if (initrd is { } disk)
        {
            Double(12, 1);
            Quad(16, address + (ulong)moduleOffset);
            Quad(moduleOffset, disk.Address.Value);
            Quad(moduleOffset + 8, disk.Length);
        }

        Quad(24, commandLine.Value);
        Quad(32, options.Rsdp?.Value ?? 0);
        Quad(40, address + (ulong)mapOffset);
        Double(48, (uint)ranges.Count);
        for (int i = 0; i < ranges.Count; i++)
        {
            int at = mapOffset + (i * RangeBytes);
            Quad(at, ranges[i].Address.Value);
            Quad(at + 8, ranges[i].Length);
            Double(at + 16, (uint)ranges[i].Type);
        }

        return new MemoryPiece(new Gpa(address), block);

        void Double(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(block.AsSpan(offset), value);
        void Quad(int offset, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(block.AsSpan(offset), value);
    }
}
