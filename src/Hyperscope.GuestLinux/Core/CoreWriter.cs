namespace Hyperscope.GuestLinux;

/// <summary>What was written.</summary>
/// <param name="Blocks">Blocks of memory.</param>
/// <param name="Bytes">Bytes of the file.</param>
/// <param name="UnreadPages">Pages that could not be read and are zero in the file.</param>
public sealed record CoreSummary(IReadOnlyList<MemoryBlock> Blocks, long Bytes, long UnreadPages);

/// <summary>Writes a guest's memory as an ELF core in the form of kdump, which <c>crash</c>, <c>drgn</c> and <c>gdb</c> read.</summary>
/// <remarks>One PT_NOTE (NT_PRSTATUS for each vCPU, VMCOREINFO), one PT_LOAD for the kernel's image and one for each block of memory, at its
/// address in the direct map. The image's lies inside its block's, so memory is in the file once. Written from front to back, and
/// 1 MiB of it is in memory at a time.</remarks>
internal sealed class CoreWriter(LinuxGuest guest, Stream target)
{
    private const int HeaderSize = 64, ProgramHeaderSize = 56, ChunkSize = 1 << 20, Alignment = Gfn.PageSize;
    private const uint Load = 1, Note = 4, ReadWriteExecute = 7;
    private const ushort CoreFile = 4, Amd64 = 62;

    private readonly IntrospectedVm _vm = guest.Vm;

    public async Task<CoreSummary> WriteAsync(IProgress<long>? progress, CancellationToken cancellation)
    {
        List<MemoryBlock> blocks = await new MemoryBlockFinder(_vm).FindAsync(cancellation).ConfigureAwait(false);
        byte[] notes = await NotesAsync(cancellation).ConfigureAwait(false);
        byte[] headers = Headers(blocks, notes.Length, out int start);
        await target.WriteAsync(headers, cancellation).ConfigureAwait(false);
        await target.WriteAsync(notes, cancellation).ConfigureAwait(false);
        await target.WriteAsync(new byte[start - headers.Length - notes.Length], cancellation).ConfigureAwait(false);
        long bytes = start, unread = 0;
        byte[] chunk = new byte[ChunkSize];
        foreach (MemoryBlock block in blocks)
        {
            for (ulong done = 0; done < block.Length;)
            {
                int length = (int)Math.Min(ChunkSize, block.Length - done);
                unread += await FillAsync(block.Start + done, chunk.AsMemory(0, length), cancellation).ConfigureAwait(false);
                await target.WriteAsync(chunk.AsMemory(0, length), cancellation).ConfigureAwait(false);
                done += (ulong)length;
                bytes += length;
                progress?.Report(bytes);
            }
        }

        await target.FlushAsync(cancellation).ConfigureAwait(false);
        return new CoreSummary(blocks, bytes, unread);
    }

    private byte[] Headers(List<MemoryBlock> blocks, int notesLength, out int start)
    {
        KernelRange image = guest.Layout.Image;
        int imageBlock = blocks.FindIndex(block => block.Contains(guest.Layout.PhysicalText)
            && block.End.Value - guest.Layout.PhysicalText.Value >= image.Length);
        int count = 1 + (imageBlock >= 0 ? 1 : 0) + blocks.Count;
        byte[] bytes = new byte[HeaderSize + count * ProgramHeaderSize];
        start = (bytes.Length + notesLength + Alignment - 1) / Alignment * Alignment;
        ReadOnlySpan<byte> identity = [0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1, 1];
        identity.CopyTo(bytes);
        Half(16, CoreFile);
        Half(18, Amd64);
        Word(20, 1);
        Quad(32, HeaderSize);
        Half(52, HeaderSize);
        Half(54, ProgramHeaderSize);
        Half(56, (ushort)count);
        int at = HeaderSize;
        Program(Note, 0, (ulong)bytes.Length, default, default, (ulong)notesLength, 4);
        ulong offset = (ulong)start;
        var offsets = new List<ulong>();
        foreach (MemoryBlock block in blocks)
        {
            offsets.Add(offset);
            offset += block.Length;
        }

        if (imageBlock >= 0)
        {
            ulong inside = guest.Layout.PhysicalText.Value - blocks[imageBlock].Start.Value;
            Program(Load, ReadWriteExecute, offsets[imageBlock] + inside, image.Start, guest.Layout.PhysicalText, image.Length, Alignment);
        }

        for (int i = 0; i < blocks.Count; i++)
            Program(Load, ReadWriteExecute, offsets[i], guest.Layout.DirectMapped(blocks[i].Start), blocks[i].Start, blocks[i].Length, Alignment);
        return bytes;

        void Half(int offset, int value) => BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(offset), (ushort)value);
        void Word(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(offset), value);
        void Quad(int offset, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(offset), value);
        void Program(uint type, uint flags, ulong fileOffset, Gva gva, Gpa gpa, ulong size, ulong alignment)
        {
            Word(at, type);
            Word(at + 4, flags);
            Quad(at + 8, fileOffset);
            Quad(at + 16, gva.Value);
            Quad(at + 24, gpa.Value);
            Quad(at + 32, size);
            Quad(at + 40, size);
            Quad(at + 48, alignment);
            at += ProgramHeaderSize;
        }
    }

    private async Task<byte[]> NotesAsync(CancellationToken cancellation)
    {
        var notes = new List<byte>();
        foreach (IntrospectedVcpu vcpu in _vm.Vcpus)
        {
            VcpuRegisters registers = await vcpu.GetRegistersAsync(new[] { MsrIndex.KernelGsBase }, cancellation).ConfigureAwait(false);
            CoreNotes.AddStatus(notes, await PidAsync(registers, cancellation).ConfigureAwait(false), registers.General, registers.System);
        }

        CoreNotes.AddKernel(notes, await CoreNotes.KernelAsync(guest, cancellation).ConfigureAwait(false));
        return [.. notes];
    }

    private async Task<int> PidAsync(VcpuRegisters registers, CancellationToken cancellation)
    {
        ulong own = registers.System.Gs.Base;
        var percpu = new Gva((long)own < 0 ? own : registers.Msr(MsrIndex.KernelGsBase));
        try
        {
            Gva task = await guest.CurrentTaskAsync(percpu, cancellation).ConfigureAwait(false);
            return (await guest.ProcessAtAsync(task, cancellation).ConfigureAwait(false)).Pid;
        }
        catch (LinuxGuestException)
        {
            return 0; // not known: no types, or the kernel is just starting a vCPU
        }
    }

    // Pages that cannot be read are zero.
    private async Task<long> FillAsync(Gpa gpa, Memory<byte> buffer, CancellationToken cancellation)
    {
        long unread = 0;
        for (int done = 0; done < buffer.Length;)
        {
            done += await _vm.TryReadPhysicalAsync(gpa + (ulong)done, buffer[done..], cancellation).ConfigureAwait(false);
            if (done == buffer.Length)
                break;
            int end = Math.Min((done / Gfn.PageSize + 1) * Gfn.PageSize, buffer.Length);
            buffer[done..end].Span.Clear();
            done = end;
            unread++;
        }

        return unread;
    }
}
