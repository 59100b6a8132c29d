namespace Hyperscope.GuestLinux;

public sealed partial class LinuxGuest
{
    private const int Attempts = 3;

    // The kernel frees such memory after a grace period of RCU, and nothing says when that is over.
    private static readonly TimeSpan BeforeLookingAgain = TimeSpan.FromMilliseconds(100);

    /// <summary>How this guest is looked at.</summary>
    internal LinuxGuestOptions Options => _options;

    /// <summary>All processes, those included that the list of tasks or the index of pids hides.</summary>
    public async Task<GuestList<LinuxProcess>> ProcessesAsync(CancellationToken cancellation = default) =>
        await ViewAsync(
            (reader, walks) => new ProcessReader(this, reader, walks).AllAsync(cancellation),
            static list => !list.Any(static process => process.IsHidden)).ConfigureAwait(false);

    /// <summary>The threads of a process.</summary>
    public Task<GuestList<LinuxProcess>> ThreadsAsync(LinuxProcess process, CancellationToken cancellation = default) =>
        ViewAsync((reader, walks) => new ProcessReader(this, reader, walks).ThreadsAsync(process.Task, cancellation));

    /// <summary>The process or thread with this <c>struct task_struct</c>.</summary>
    /// <exception cref="LinuxGuestException">There is no such memory.</exception>
    public async Task<LinuxProcess> ProcessAtAsync(Gva task, CancellationToken cancellation = default)
    {
        GuestReader reader = OpenMemory();
        List<LinuxProcess> found = await new ProcessReader(this, reader, NewWalks(reader)).ReadAllAsync([(task, FoundIn.Both)], cancellation)
            .ConfigureAwait(false);
        return found.Count != 0 ? found[0] : throw new LinuxGuestException($"there is no task_struct at {task}");
    }

    /// <summary>The <c>struct task_struct</c> that a vCPU executes.</summary>
    /// <param name="gsBase">The base of its GS segment, or what SWAPGS would make it (KERNEL_GS_BASE): the one that is a kernel address.</param>
    /// <param name="cancellation">Ends the reading.</param>
    public async ValueTask<Gva> CurrentTaskAsync(Gva gsBase, CancellationToken cancellation = default) =>
        await OpenMemory().ReadPointerAsync(gsBase + CurrentTaskOffset, cancellation).ConfigureAwait(false);

    /// <summary>Where the address of the running <c>struct task_struct</c> is, in bytes from the base of GS.</summary>
    public ulong CurrentTaskOffset => Symbols.TryAddressOf("current_task", out Gva direct)
        ? direct.Value
        : Symbols.AddressOf("pcpu_hot").Value + (ulong)Btf.StructOf("pcpu_hot").Offset("current_task");

    /// <summary>The page tables of a process in kernel mode, for <see cref="GuestReader.WithRoot"/>; null for kernel threads and zombies.</summary>
    public async ValueTask<Gpa?> PageTableOfAsync(LinuxProcess process, CancellationToken cancellation = default)
    {
        if (!Walks.IsPointer(process.Mm))
            return null;
        GuestReader reader = OpenMemory();
        Gva table = await reader.ReadPointerAsync(process.Mm + (ulong)Btf.StructOf("mm_struct").Offset("pgd"), cancellation).ConfigureAwait(false);
        return await reader.TranslateAsync(table, cancellation).ConfigureAwait(false);
    }

    /// <summary>The memory maps of a process; empty for kernel threads.</summary>
    public Task<GuestList<LinuxMapping>> MapsAsync(LinuxProcess process, CancellationToken cancellation = default) =>
        ViewAsync((reader, walks) => new ProcessMemoryReader(this, reader, walks).MapsAsync(process.Mm, cancellation));

    /// <summary>The path of the program that a process executes, as <c>/proc/PID/exe</c>; null for kernel threads and zombies.</summary>
    /// <exception cref="LinuxGuestException">The guest's structures do not hold together, or the process has ended.</exception>
    public Task<string?> ProgramAsync(LinuxProcess process, CancellationToken cancellation = default)
    {
        GuestReader reader = OpenMemory();
        return new ProcessMemoryReader(this, reader, NewWalks(reader)).ProgramAsync(process.Mm, cancellation);
    }

    /// <summary>The open files of a process.</summary>
    public Task<GuestList<LinuxFile>> FilesAsync(LinuxProcess process, CancellationToken cancellation = default) =>
        ViewAsync((reader, walks) => new ProcessMemoryReader(this, reader, walks).FilesAsync(process.Files, cancellation));

    /// <summary>Loaded modules, those included that are missing in the list, in an index or everywhere.</summary>
    public Task<GuestList<LinuxModule>> ModulesAsync(CancellationToken cancellation = default) =>
        ViewAsync(
            async (reader, walks) => (await new ModuleReader(this, reader, walks).AllAsync(cancellation).ConfigureAwait(false)).Modules,
            static list => !list.Any(static module => module.IsHidden));

    /// <summary>The module with this <c>struct module</c>. Where it is known, and where it is missing, is not looked up.</summary>
    /// <exception cref="LinuxGuestException">There is no such memory.</exception>
    public async Task<LinuxModule> ModuleAtAsync(Gva module, CancellationToken cancellation = default)
    {
        GuestReader reader = OpenMemory();
        return await new ModuleReader(this, reader, NewWalks(reader)).AtAsync(module, cancellation).ConfigureAwait(false);
    }

    /// <summary>Executable memory where modules are loaded that belongs to no module, not even to a hidden one, nor to BPF, kprobes or
    /// ftrace.</summary>
    /// <remarks>What only initialises a module, or is being unloaded, is nobody's until it is freed: what is found is looked at again a
    /// little later, for which the guest has to run.</remarks>
    public async Task<GuestList<KernelRange>> UnownedCodeAsync(CancellationToken cancellation = default)
    {
        for (int attempt = 1; ; attempt++)
        {
            GuestList<KernelRange> found = await ViewAsync(async (reader, walks) =>
                (await new ModuleReader(this, reader, walks).AllAsync(cancellation).ConfigureAwait(false)).Unowned).ConfigureAwait(false);
            if (found.Count == 0 || attempt == Attempts)
                return found;
            await Task.Delay(BeforeLookingAgain, cancellation).ConfigureAwait(false);
        }
    }

    /// <summary>Sockets that processes have open.</summary>
    public Task<GuestList<LinuxSocket>> SocketsAsync(CancellationToken cancellation = default) =>
        ViewAsync(async (reader, walks) =>
        {
            List<LinuxProcess> processes = await new ProcessReader(this, reader, walks).AllAsync(cancellation).ConfigureAwait(false);
            return await new SocketReader(this, reader, walks).AllAsync(processes, cancellation).ConfigureAwait(false);
        });

    /// <summary>The system call table. Needs no BTF.</summary>
    public async Task<IReadOnlyList<SyscallEntry>> SyscallsAsync(CancellationToken cancellation = default) =>
        await new KernelTableReader(this, OpenMemory()).SyscallsAsync(cancellation).ConfigureAwait(false);

    /// <summary>The interrupt gates that are present, of the kernel's own table (<c>idt_table</c>). Needs no BTF.</summary>
    public Task<IReadOnlyList<IdtEntry>> IdtAsync(CancellationToken cancellation = default) =>
        IdtAsync(Symbols.AddressOf("idt_table"), ushort.MaxValue, cancellation);

    /// <summary>The interrupt gates that are present in a table.</summary>
    /// <param name="table">The IDTR of a vCPU: its base,</param>
    /// <param name="limit">and its limit.</param>
    /// <param name="cancellation">Ends the reading.</param>
    public async Task<IReadOnlyList<IdtEntry>> IdtAsync(Gva table, ushort limit, CancellationToken cancellation = default) =>
        await new KernelTableReader(this, OpenMemory()).GatesAsync(table, limit, cancellation).ConfigureAwait(false);

    /// <summary>Loaded BPF programs.</summary>
    public Task<GuestList<BpfProgram>> BpfProgramsAsync(CancellationToken cancellation = default) =>
        ViewAsync((reader, walks) => new BpfReader(this, reader, walks).AllAsync(cancellation));

    /// <summary>The kernel's log as far as its ring reaches back.</summary>
    public Task<GuestList<KernelLogLine>> KernelLogAsync(CancellationToken cancellation = default) =>
        ViewAsync((reader, walks) => new KernelLogReader(this, reader, walks).AllAsync(cancellation));

    private Walks NewWalks(GuestReader reader) => new(reader, Btf, _options.MaxEntries);

    // The guest runs on while its lists are followed, so what looks broken is looked at again before it is called so.
    private async Task<GuestList<T>> ViewAsync<T>(Func<GuestReader, Walks, Task<List<T>>> read, Func<List<T>, bool>? isPlausible = null)
    {
        for (int attempt = 1; ; attempt++)
        {
            GuestReader reader = OpenMemory();
            Walks walks = NewWalks(reader);
            try
            {
                List<T> items = await read(reader, walks).ConfigureAwait(false);
                if (attempt == Attempts || (walks.Truncation is null && (isPlausible is null || isPlausible(items))))
                    return new GuestList<T>(items, walks.Truncation);
            }
            catch (GuestAddressException missing)
            {
                if (attempt == Attempts)
                    return new GuestList<T>([], new Truncation("what the list hangs on has no memory", missing.Gva));
            }
        }
    }
}
