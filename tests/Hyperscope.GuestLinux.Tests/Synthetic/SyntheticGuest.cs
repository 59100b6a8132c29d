namespace Hyperscope.GuestLinux.Tests;

/// <summary>The memory of a guest that a test made up: page tables, symbols, types, and tasks in both of their containers.</summary>
internal sealed class SyntheticGuest
{
    public const ulong DirectMap = 0xffff888000000000;
    public const ulong TextGpa = 0x400000, RodataGpa = 0x600000, DataGpa = 0x700000, PageTableGpa = 0x7f0000, UserTableGpa = 0x7f1000, TaskGpa = 0x1000000;
    public const int Pids = 40;

    private const ulong Present = 1, Writable = 2, Large = 0x80, NoExecute = 1UL << 63;
    private ulong _nextTable = 0x20000;

    public SyntheticGuest(KallsymsEra era = KallsymsEra.Linux61, ulong slide = 0x12400000, bool hasBtf = true)
    {
        ImageBase = KernelLayout.LinkedText + slide;
        Memory = new FlatMemory(32 << 20);
        MapImage();
        byte[] types = hasBtf ? new SyntheticTypes().Build() : [];
        Memory.Write(RodataGpa + 0x10000, types);
        "Linux version 6.1.0-made-up (nobody@nowhere) #1\n\0"u8.CopyTo(Memory.Bytes.AsSpan((int)RodataGpa));
        var named = new List<(ulong Address, char Type, string Name)>
        {
            (Image(TextGpa), 'T', "_text"), (Image(TextGpa) + 0x1ff000, 'T', "_etext"), (Image(RodataGpa), 'D', "__start_rodata"),
            (Image(RodataGpa), 'R', "linux_banner"), (Image(RodataGpa) + 0x1000, 'D', "sys_call_table"), (Image(RodataGpa) + 0x1080, 'D', "behind_the_table"),
            (Image(RodataGpa) + 0x80000, 'R', "__end_rodata"), (Image(DataGpa), 'D', "_sdata"), (Image(DataGpa) + 0x1000, 'D', "init_task"),
            (Image(DataGpa) + 0x2000, 'D', "init_pid_ns"), (Image(DataGpa) + 0x3000, 'D', "modules"), (Image(DataGpa) + 0x4000, 'D', "prb"), (Image(DataGpa) + 0x80000, 'D', "_edata"),
            (Image(PageTableGpa), 'D', "init_top_pgt"), (Image(PageTableGpa) + 0x10000, 'D', "_end"),
        };
        if (hasBtf)
        {
            named.Add((Image(RodataGpa) + 0x10000, 'R', "__start_BTF"));
            named.Add((Image(RodataGpa) + 0x10000 + (ulong)types.Length, 'R', "__stop_BTF"));
        }

        for (int i = 0; i < 700; i++)
            named.Add((Image(TextGpa) + 0x1000 + ((ulong)i * 64), 't', $"function_{i}"));
        named = [.. named.OrderBy(static symbol => symbol.Address)];
        if (era != KallsymsEra.Linux615)
            named.InsertRange(0, Enumerable.Range(0, 10).Select(static i => ((ulong)i * 8, 'A', $"per_cpu_{i}")));
        Memory.Write(RodataGpa + 0x20000, KallsymsBuilder.Build(era, named, ImageBase));
        for (int i = 0; i < 10; i++)
            Memory.Write(RodataGpa + 0x1000 + ((ulong)i * 8), Image(TextGpa) + 0x1000 + ((ulong)i * 64));
        if (hasBtf)
            AddTasks();
    }

    public FlatMemory Memory { get; }

    public ulong ImageBase { get; }

    /// <summary>A vCPU in user mode, with page tables of its own.</summary>
    public VcpuStart InUserMode => new(1UL << 31 | 1, UserTableGpa | 0x801, 0x20, 1UL << 10, Image(TextGpa));

    /// <summary>A vCPU in the kernel.</summary>
    public VcpuStart InKernel => InUserMode with { Cr3 = PageTableGpa };

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public static ulong Task(int pid) => TaskGpa + ((ulong)pid * 0x1000);

    public static ulong Pid(int pid) => Task(pid) + 0x800;

    public static ulong Direct(ulong gpa) => DirectMap + gpa;

    public ulong Image(ulong gpa) => ImageBase + (gpa - TextGpa);

    public Task<LinuxGuest> AttachAsync(params VcpuStart[] vcpus) =>
        LinuxGuest.AttachAsync(Memory, vcpus.Length == 0 ? [InUserMode] : vcpus, new LinuxGuestOptions { MaxEntries = 500 }, Cancel);

    /// <summary>The same guest with other types.</summary>
    public async Task<LinuxGuest> AttachAsync(BtfBuilder types, int maxEntries = 500)
    {
        LinuxGuest guest = await AttachAsync();
        return new LinuxGuest(Memory, new LinuxGuestOptions { MaxEntries = maxEntries }, guest.Symbols, guest.Layout, Btf.Parse(types.Build()), "");
    }

    private void MapImage()
    {
        Map(PageTableGpa, ImageBase, TextGpa, 2, Present);
        for (ulong page = 0; page < 0x100000; page += 0x1000)
        {
            Map(PageTableGpa, Image(RodataGpa + page), RodataGpa + page, 1, Present | NoExecute);
            Map(PageTableGpa, Image(DataGpa + page), DataGpa + page, 1, Present | Writable | NoExecute);
        }

        for (ulong gpa = 0; gpa < 32 << 20; gpa += 2 << 20)
            Map(PageTableGpa, Direct(gpa), gpa, 2, Present | Writable | NoExecute);

        // Page table isolation leaves user mode one page of text.
        Map(UserTableGpa, ImageBase, TextGpa, 1, Present);
    }

    private void Map(ulong root, ulong gva, ulong gpa, int level, ulong flags)
    {
        ulong table = root;
        for (int at = 4; at > level; at--)
        {
            ulong slot = table + ((gva >> (12 + (9 * (at - 1))) & 511) * 8);
            ulong entry = BitConverter.ToUInt64(Memory.Bytes, (int)slot);
            if (entry == 0)
            {
                entry = _nextTable | Present | Writable;
                _nextTable += 0x1000;
                Memory.Write(slot, entry);
            }

            table = entry & ~0xfffUL;
        }

        Memory.Write(table + ((gva >> (12 + (9 * (level - 1))) & 511) * 8), gpa | flags | (level > 1 ? Large : 0));
    }

    // init_task and 39 more; pid 1 of each is what the numbers say.
    private void AddTasks()
    {
        ulong init = DataGpa + 0x1000;
        AddTask(init, Image(init), 0, "swapper");
        ulong[] links = [Image(init) + 16, .. Enumerable.Range(1, Pids - 1).Select(static pid => Direct(Task(pid)) + 16)];
        for (int pid = 1; pid < Pids; pid++)
            AddTask(Task(pid), Direct(Task(pid)), pid, $"task {pid}");
        for (int i = 0; i < Pids; i++)
        {
            ulong gpa = i == 0 ? init + 16 : Task(i) + 16;
            Memory.Write(gpa, links[(i + 1) % Pids]);
            Memory.Write(gpa + 8, links[(i + Pids - 1) % Pids]);
        }

        // Two levels: a node of shift 3 above five of shift 0.
        ulong top = 0x1f00000;
        Memory.Write(DataGpa + 0x2000 + 8, Direct(top) | 2);
        Memory.Bytes[top] = 3;
        for (int child = 0; child * SyntheticTypes.Slots < Pids; child++)
        {
            ulong node = top + 0x100 + ((ulong)child * 0x100);
            Memory.Write(top + 16 + ((ulong)child * 8), Direct(node) | 2);
            for (int slot = 0; slot < SyntheticTypes.Slots && (child * SyntheticTypes.Slots) + slot < Pids; slot++)
            {
                int pid = (child * SyntheticTypes.Slots) + slot;
                if (pid != 0)
                    Memory.Write(node + 16 + ((ulong)slot * 8), Direct(Pid(pid)));
            }
        }
    }

    private void AddTask(ulong gpa, ulong gva, int pid, string comm)
    {
        Memory.Write(gpa, 1); // sleeping
        Memory.Write(gpa + 40, (uint)pid | (ulong)pid << 32);
        Memory.Write(gpa + 48, Image(DataGpa + 0x1000));
        Memory.Write(gpa + 56, gva);
        Memory.Write(gpa + 64, Direct(Pid(pid)));
        Memory.Write(gpa + 160, Direct(gpa + 0x400));
        Memory.Write(gpa + 168, System.Text.Encoding.ASCII.GetBytes(comm));
        Memory.Write(gpa + 192, Direct(gpa + 0x500));
        Memory.Write(gpa + 200, Direct(gpa + 0x600));
        Memory.Write(gpa + 0x404, 1000UL + (ulong)pid); // cred
        Memory.Write(gpa + 0x600 + 8, 1); // signal
        Memory.Write(gpa + 0x600 + 16, gva + 136);
        Memory.Write(gpa + 136, Direct(gpa + 0x600) + 16);
        if (pid == 0)
            return;
        Memory.Write(Pid(pid) + 16, gva + 72);
        Memory.Write(Pid(pid) + 24, gva + 72);
    }
}
