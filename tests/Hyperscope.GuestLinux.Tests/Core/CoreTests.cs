using System.Buffers.Binary;
using System.Text;
using Hyperscope.Kvmi;
using Hyperscope.Vm;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>A core of a booted guest, read as its readers do.</summary>
[Collection(EventGuestTests.Name)]
public sealed class CoreTests(EventGuest live)
{
    private static readonly string[] NeededKeys =
    [
        "OSRELEASE", "BUILD-ID", "PAGESIZE", "KERNELOFFSET", "NUMBER(phys_base)", "NUMBER(pgtable_l5_enabled)", "NUMBER(KERNEL_IMAGE_SIZE)",
        "SYMBOL(init_uts_ns)", "SYMBOL(swapper_pg_dir)", "SYMBOL(mem_section)", "SYMBOL(_stext)", "LENGTH(mem_section)", "OFFSET(list_head.next)",
    ];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_core_written_in_an_event_holds_memory_registers_and_VMCOREINFO()
    {
        string file = Path.GetTempFileName();
        try
        {
            (CoreSummary summary, KvmRegs[] registers) = await WriteInEventsAsync(file);
            await using FileStream core = File.OpenRead(file);
            byte[] header = Read(core, 0, 64);
            Assert.Equal([0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1], header[..6]);
            Assert.Equal((4, 62), (BitConverter.ToUInt16(header, 16), BitConverter.ToUInt16(header, 18)));
            List<Segment> segments = [.. Enumerable.Range(0, BitConverter.ToUInt16(header, 56)).Select(i => SegmentAt(core, 64 + i * 56))];
            Assert.All(segments, segment => Assert.InRange(segment.Offset + segment.Size, 0UL, (ulong)core.Length));
            Assert.Equal((core.Length, 0L), (summary.Bytes, summary.UnreadPages));

            Segment[] loads = [.. segments.Where(static segment => segment.Type == 1)];
            Assert.Equal(summary.Blocks.Count + 1, loads.Length);
            ulong size = (ulong)summary.Blocks.Sum(static block => (long)block.Length);
            Assert.InRange(size, (512UL << 20) - (1 << 20), (512UL << 20) + (1 << 20));

            // By physical address, by the kernel's and by the direct map's.
            KernelLayout layout = live.Linux.Layout;
            Gva banner = live.Linux.Symbols.AddressOf("linux_banner");
            Gpa physical = layout.PhysicalOf(banner)!.Value;
            byte[] expected = Encoding.ASCII.GetBytes(live.Linux.Banner);
            Assert.Equal(expected, ReadAt(core, loads[1..], static segment => segment.Gpa, physical.Value, expected.Length));
            Assert.Equal(expected, ReadAt(core, loads, static segment => segment.Gva, banner.Value, expected.Length));
            Assert.Equal(expected, ReadAt(core, loads, static segment => segment.Gva, layout.DirectMapped(physical).Value, expected.Length));

            List<(string Name, uint Type, byte[] Data)> notes = Notes(Read(core, (long)segments[0].Offset, (int)segments[0].Size));
            byte[][] states = [.. notes.Where(static note => note is { Name: "CORE", Type: 1 }).Select(static note => note.Data)];
            Assert.All(states, static state => Assert.Equal(336, state.Length));
            Assert.Equal(
                registers.Select(static one => (one.Rip, one.Rsp, one.Rdi)),
                states.Select(static state => (Word(state, 16), Word(state, 19), Word(state, 14))));

            Dictionary<string, string> info = Encoding.ASCII.GetString(Assert.Single(notes, static note => note.Name == "VMCOREINFO").Data)
                .Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(static line => line.Split('=', 2)).ToDictionary(static pair => pair[0], static pair => pair[1]);
            Assert.Equal(live.Linux.Release, info["OSRELEASE"]);
            Assert.Equal(layout.Slide, long.Parse(info["KERNELOFFSET"], NumberStyles.HexNumber, CultureInfo.InvariantCulture));
            long physicalBase = long.Parse(info["NUMBER(phys_base)"], CultureInfo.InvariantCulture);
            Assert.Equal(layout.PhysicalText.Value, unchecked(layout.Text.Start.Value - 0xffffffff80000000 + (ulong)physicalBase));
            Assert.Equal(live.Linux.Symbols.AddressOf("init_top_pgt").Value,
                ulong.Parse(info["SYMBOL(swapper_pg_dir)"], NumberStyles.HexNumber, CultureInfo.InvariantCulture));

            // What drgn and crash look for; and it is what the kernel itself would give kdump.
            Assert.All(NeededKeys, key => Assert.Contains(key, info));
            string[] place = (await live.RunAsync("cat /sys/kernel/vmcoreinfo"))[^1].Split(' ');
            byte[] own = await live.Vm.ReadPhysicalAsync(
                new Gpa(Convert.ToUInt64(place[0], 16)), (int)Math.Min(Convert.ToUInt64(place[1], 16), 4096), Cancel);
            Assert.Contains(Notes(own), note => note.Name == "VMCOREINFO" && Encoding.ASCII.GetString(note.Data).StartsWith(
                string.Join('\n', info.Take(20).Select(static pair => $"{pair.Key}={pair.Value}")), StringComparison.Ordinal));

            // What is composed where a kernel keeps nothing says the same.
            foreach (string line in Encoding.ASCII.GetString(CoreNotes.Compose(live.Linux)).Split('\n', StringSplitOptions.RemoveEmptyEntries))
                Assert.Equal(line[(line.IndexOf('=', StringComparison.Ordinal) + 1)..], info[line[..line.IndexOf('=', StringComparison.Ordinal)]]);
        }
        finally
        {
            File.Delete(file);
        }
    }

    private readonly record struct Segment(uint Type, ulong Offset, ulong Gva, ulong Gpa, ulong Size);

    // All vCPUs stand in an event while it is written.
    private async Task<(CoreSummary, KvmRegs[])> WriteInEventsAsync(string file)
    {
        var registers = new KvmRegs[live.Vm.Vcpus.Count];
        var stopped = new CountdownEvent(registers.Length);
        var written = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using IDisposable handling = live.Vm.OnAsync<PauseVcpuEvent>(async pause =>
        {
            registers[pause.Vcpu.Index.Value] = pause.Registers;
            stopped.Signal();
            await written.Task;
            pause.Continue();
        });
        try
        {
            await live.Vm.PauseAsync(Cancel);
            await Task.Run(() => stopped.Wait(Cancel), Cancel);
            await using FileStream core = File.Create(file);
            return (await live.Linux.WriteCoreAsync(core, cancellation: Cancel), registers);
        }
        finally
        {
            written.SetResult();
        }
    }

    private static ulong Word(byte[] state, int register) => BitConverter.ToUInt64(state, 112 + register * 8);

    private static byte[] ReadAt(FileStream core, IEnumerable<Segment> loads, Func<Segment, ulong> start, ulong address, int length)
    {
        Segment found = loads.First(segment => address - start(segment) < segment.Size);
        return Read(core, (long)(found.Offset + (address - start(found))), length);
    }

    private static byte[] Read(FileStream core, long offset, int length)
    {
        byte[] bytes = new byte[length];
        core.Position = offset;
        core.ReadExactly(bytes);
        return bytes;
    }

    private static Segment SegmentAt(FileStream core, long offset)
    {
        byte[] bytes = Read(core, offset, 56);
        return new Segment(
            BitConverter.ToUInt32(bytes), BitConverter.ToUInt64(bytes, 8), BitConverter.ToUInt64(bytes, 16), BitConverter.ToUInt64(bytes, 24),
            BitConverter.ToUInt64(bytes, 32));
    }

    private static List<(string Name, uint Type, byte[] Data)> Notes(ReadOnlySpan<byte> bytes)
    {
        var notes = new List<(string, uint, byte[])>();
        while (!bytes.IsEmpty && bytes[0] != 0) // the kernel's own end with an empty one
        {
            int name = BinaryPrimitives.ReadInt32LittleEndian(bytes), length = BinaryPrimitives.ReadInt32LittleEndian(bytes[4..]);
            int data = 12 + (name + 3) / 4 * 4;
            notes.Add((Encoding.ASCII.GetString(bytes.Slice(12, name - 1)), BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]),
                bytes.Slice(data, length).ToArray()));
            bytes = bytes[(data + (length + 3) / 4 * 4)..];
        }

        return notes;
    }
}
