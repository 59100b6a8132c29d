using Hyperscope.Vm;

namespace Hyperscope.Machine;

/// <summary>Bytes for guest memory, followed by zeros.</summary>
/// <param name="Address">Where.</param>
/// <param name="Bytes">What.</param>
/// <param name="Zeros">How many zero bytes come behind.</param>
public readonly record struct MemoryPiece(Gpa Address, ReadOnlyMemory<byte> Bytes, ulong Zeros = 0)
{
    /// <summary>Length with the zeros.</summary>
    public ulong Length => (ulong)Bytes.Length + Zeros;

    /// <summary>First address behind the piece.</summary>
    public Gpa End => Address + Length;
}

/// <summary>What a loader makes of an image: memory contents and the state of the first vCPU. Nothing in it refers to a machine.</summary>
public sealed class BootImage
{
    /// <summary>What the image was taken for, for people.</summary>
    public required string Description { get; init; }

    /// <summary>Written to memory in this order; later pieces win.</summary>
    public required IReadOnlyList<MemoryPiece> Pieces { get; init; }

    /// <summary>Firmware: each becomes a read-only memory slot of its own.</summary>
    public IReadOnlyList<MemoryPiece> Roms { get; init; } = [];

    /// <summary>General registers at the first instruction.</summary>
    public required KvmRegs Registers { get; init; }

    /// <summary>Segments, tables and control registers at the first instruction.</summary>
    public required KvmSregs SpecialRegisters { get; init; }

    /// <summary>The same image with one more piece, such as tables that firmware would have left.</summary>
    public BootImage With(MemoryPiece piece) => new()
    {
        Description = Description,
        Pieces = [.. Pieces, piece],
        Roms = Roms,
        Registers = Registers,
        SpecialRegisters = SpecialRegisters,
    };

    /// <summary>Writes the pieces.</summary>
    /// <exception cref="ImageFormatException">A piece has no memory behind it.</exception>
    public void WriteTo(GuestMemory memory)
    {
        byte[]? zeros = null;
        foreach (MemoryPiece piece in Pieces)
        {
            bool written = memory.TryLoad(piece.Address, piece.Bytes.Span);
            Gpa address = piece.Address + (ulong)piece.Bytes.Length;
            for (ulong left = piece.Zeros; written && left > 0;)
            {
                zeros ??= new byte[65536];
                int count = (int)Math.Min(left, (ulong)zeros.Length);
                written = memory.TryLoad(address, zeros.AsSpan(0, count));
                address += (ulong)count;
                left -= (ulong)count;
            }

            if (!written)
                throw new ImageFormatException($"{Description}: {piece.Length} bytes at {piece.Address} are not all memory");
        }
    }
}
