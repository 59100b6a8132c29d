namespace Hyperscope.GuestLinux;

public sealed partial class LinuxGuest
{
    /// <summary>The call stack of a vCPU that stands still, such as one that waits in an event.</summary>
    /// <param name="registers">Its general registers.</param>
    /// <param name="codeSelector">Its CS: in user mode there is nothing to follow.</param>
    /// <param name="cancellation">Ends the reading.</param>
    /// <remarks>Followed by the kernel's own unwind tables (ORC); where they do not help, return addresses that lie on the stack are added
    /// and marked as <see cref="FrameSource.Scanned"/>.</remarks>
    public async Task<CallStack> StackAsync(KvmRegs registers, ushort codeSelector, CancellationToken cancellation = default)
    {
        GuestReader reader = OpenMemory();
        bool isUser = (codeSelector & 3) == 3;
        OrcFormat format = HasBtf && Btf.TryStructOf("orc_entry", out _) ? OrcFormat.Of(Btf) : FormatByRelease();
        // The boot CPU's stack starts in code that is long gone; its unwind entries are still there.
        KernelRange boot = Symbols.TryAddressOf("_sinittext", out Gva bootStart) && Symbols.TryAddressOf("_einittext", out Gva bootEnd)
            ? new KernelRange(bootStart, bootEnd)
            : default;
        OrcTable? kernel = OrcTable.OfKernel(this, reader, format);
        List<(LinuxModule Module, OrcTable? Table)> modules = isUser || !HasBtf ? [] : await ModuleTablesAsync().ConfigureAwait(false);
        var unwinder = new StackUnwinder(reader, FindAsync, DescribeCode, IsCode);
        return await unwinder.UnwindAsync(registers, isUser, cancellation).ConfigureAwait(false);

        async Task<List<(LinuxModule, OrcTable?)>> ModuleTablesAsync()
        {
            var tables = new List<(LinuxModule, OrcTable?)>();
            foreach (LinuxModule module in await ModulesAsync(cancellation).ConfigureAwait(false))
                tables.Add((module, await ModuleTableAsync(Btf.StructOf("module"), module).ConfigureAwait(false)));
            return tables;
        }

        async Task<OrcTable?> ModuleTableAsync(BtfStruct type, LinuxModule module)
        {
            if (!type.Has("arch.num_orcs"))
                return null;
            StructView view = await reader.ReadSliceAsync(
                type.Slice("arch.num_orcs", "arch.orc_unwind_ip", "arch.orc_unwind"), module.Address, cancellation).ConfigureAwait(false);
            uint count = view.UInt32("arch.num_orcs");
            return count is 0 or > 1 << 20 ? null
                : new OrcTable(reader, format, view.Pointer("arch.orc_unwind_ip"), view.Pointer("arch.orc_unwind"), (int)count);
        }

        async ValueTask<OrcEntry?> FindAsync(Gva ip)
        {
            OrcTable? table = IsKernelCode(ip) ? kernel : ModuleOf(ip)?.Table;
            return table is null ? null : await table.FindAsync(ip, cancellation).ConfigureAwait(false);
        }

        (LinuxModule Module, OrcTable? Table)? ModuleOf(Gva ip)
        {
            foreach ((LinuxModule Module, OrcTable? Table) item in modules)
            {
                if (item.Module.Contains(ip))
                    return item;
            }

            return null;
        }

        string DescribeCode(Gva ip) => Layout.Image.Contains(ip) ? Symbols.Describe(ip)
            : ModuleOf(ip)?.Module is { } module ? $"[{module.Name}]+0x{ip.Value - module.Base.Value:x}" : $"{ip}";

        bool IsKernelCode(Gva ip) => Layout.Text.Contains(ip) || boot.Contains(ip);

        bool IsCode(Gva ip) => IsKernelCode(ip) || ModuleOf(ip) is not null;
    }

    /// <summary>The call stack of a vCPU by its registers.</summary>
    public Task<CallStack> StackAsync(VcpuRegisters registers, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(registers);
        return StackAsync(registers.General, registers.System.Cs.Selector, cancellation);
    }

    // Without types: the layout changed once between the kernels that are known.
    private OrcFormat FormatByRelease()
    {
        string[] parts = Release.Split('.', '-');
        bool isOld = parts.Length >= 2 && int.TryParse(parts[0], out int major) && int.TryParse(parts[1], out int minor)
            && (major < 6 || (major == 6 && minor < 4));
        return isOld ? OrcFormat.Old : OrcFormat.New;
    }
}
