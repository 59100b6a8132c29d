using System.Text;

namespace Hyperscope.GuestLinux;

/// <summary>The notes of a core: what the vCPUs were doing, and what the kernel says of itself.</summary>
internal static class CoreNotes
{
    private const int StatusSize = 336, PidOffset = 32, RegistersOffset = 112, FloatValidOffset = 328; // struct elf_prstatus
    private const uint StatusType = 1; // NT_PRSTATUS

    /// <summary>Adds a vCPU. Source: Linux include/uapi/linux/elfcore.h and arch/x86/include/asm/user_64.h.</summary>
    public static void AddStatus(List<byte> notes, int pid, in KvmRegs general, in KvmSregs system)
    {
        byte[] status = new byte[StatusSize];
        BinaryPrimitives.WriteInt32LittleEndian(status.AsSpan(PidOffset), pid);
        ReadOnlySpan<ulong> registers =
        [
            general.R15, general.R14, general.R13, general.R12, general.Rbp, general.Rbx, general.R11, general.R10, general.R9, general.R8, general.Rax,
            general.Rcx, general.Rdx, general.Rsi, general.Rdi, ulong.MaxValue, general.Rip, system.Cs.Selector, general.Rflags, general.Rsp,
            system.Ss.Selector, system.Fs.Base, system.Gs.Base, system.Ds.Selector, system.Es.Selector, system.Fs.Selector, system.Gs.Selector,
        ];
        for (int i = 0; i < registers.Length; i++)
            BinaryPrimitives.WriteUInt64LittleEndian(status.AsSpan(RegistersOffset + i * 8), registers[i]);
        BinaryPrimitives.WriteInt32LittleEndian(status.AsSpan(FloatValidOffset), 0);
        Add(notes, "CORE", StatusType, status);
    }

    /// <summary>Adds VMCOREINFO.</summary>
    public static void AddKernel(List<byte> notes, ReadOnlySpan<byte> text) => Add(notes, "VMCOREINFO", 0, text);

    /// <summary>What the kernel keeps for its own crash dumps; composed from what is known if it keeps nothing.</summary>
    public static async Task<byte[]> KernelAsync(LinuxGuest guest, CancellationToken cancellation)
    {
        const ulong MaxLength = 4096;
        GuestReader reader = guest.OpenMemory();
        if (guest.Symbols.TryAddressOf("vmcoreinfo_data", out Gva data) && guest.Symbols.TryAddressOf("vmcoreinfo_size", out Gva size))
        {
            try
            {
                ulong length = await reader.ReadUInt64Async(size, cancellation).ConfigureAwait(false);
                if (length is > 0 and <= MaxLength)
                {
                    byte[] text = new byte[length];
                    await reader.ReadAsync(await reader.ReadPointerAsync(data, cancellation).ConfigureAwait(false), text, cancellation).ConfigureAwait(false);
                    if (text.AsSpan().StartsWith("OSRELEASE="u8))
                        return text;
                }
            }
            catch (GuestAddressException)
            {
                // Composed then.
            }
        }

        return Compose(guest);
    }

    /// <summary>The lines that readers cannot do without.</summary>
    public static byte[] Compose(LinuxGuest guest)
    {
        KernelLayout layout = guest.Layout;
        ulong physicalBase = unchecked(layout.PhysicalText.Value - (layout.Text.Start.Value - KernelFinder.RegionStart));
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"OSRELEASE={guest.Release}\nBUILD-ID={guest.BuildId}\nPAGESIZE=4096\n");
        foreach (string symbol in new[] { "init_uts_ns", "swapper_pg_dir", "_stext" })
        {
            if (guest.Symbols.TryAddressOf(symbol == "swapper_pg_dir" ? "init_top_pgt" : symbol, out Gva address))
                text.Append(CultureInfo.InvariantCulture, $"SYMBOL({symbol})={address.Value:x}\n");
        }

        text.Append(CultureInfo.InvariantCulture, $"NUMBER(phys_base)={(long)physicalBase}\nNUMBER(pgtable_l5_enabled)={(layout.IsFiveLevel ? 1 : 0)}\n");
        text.Append(CultureInfo.InvariantCulture, $"KERNELOFFSET={layout.Slide:x}\n");
        return Encoding.ASCII.GetBytes(text.ToString());
    }

    private static void Add(List<byte> notes, string name, uint type, ReadOnlySpan<byte> description)
    {
        Span<byte> header = stackalloc byte[12];
        BinaryPrimitives.WriteInt32LittleEndian(header, name.Length + 1);
        BinaryPrimitives.WriteInt32LittleEndian(header[4..], description.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(header[8..], type);
        notes.AddRange(header);
        notes.AddRange(Encoding.ASCII.GetBytes(name));
        notes.Add(0);
        Pad(notes);
        notes.AddRange(description);
        Pad(notes);
    }

    private static void Pad(List<byte> notes)
    {
        while (notes.Count % 4 != 0)
            notes.Add(0);
    }
}
