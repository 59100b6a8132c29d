using Hyperscope.Vm;

namespace Hyperscope.Machine;

/// <summary>Puts a firmware image where the processor starts: its end at 4 GiB, its last 128 KiB also below 1 MiB.</summary>
public static class FirmwareLoader
{
    /// <summary>Largest image.</summary>
    public const int MaximumBytes = 16 << 20;

    private const int Shadow = 128 << 10;

    /// <summary>Places an image.</summary>
    /// <exception cref="ImageFormatException">Its size is not a multiple of 4096 up to 16 MiB, or there is no jump at its end.</exception>
    public static BootImage Load(ReadOnlyMemory<byte> image)
    {
        int length = image.Length;
        if (length is 0 or > MaximumBytes || length % Gfn.PageSize != 0)
            throw new ImageFormatException($"firmware: size of {length} bytes is not a multiple of 4096 from 4096 to {MaximumBytes}");
        if (image.Span[^16..].IndexOfAnyExcept((byte)0) < 0 || image.Span[^16..].IndexOfAnyExcept((byte)0xff) < 0)
            throw new ImageFormatException("firmware: the reset vector, 16 bytes before its end, is empty");
        int low = Math.Min(length, Shadow);
        (KvmRegs registers, KvmSregs special) = CpuState.Reset();
        return new BootImage
        {
            Description = "firmware",
            Pieces = [new MemoryPiece(new Gpa(GuestMemoryMap.OneMiB - (ulong)low), image[^low..])],
            Roms = [new MemoryPiece(new Gpa(GuestMemoryMap.FourGiB - (ulong)length), image)],
            Registers = registers,
            SpecialRegisters = special,
        };
    }
}
