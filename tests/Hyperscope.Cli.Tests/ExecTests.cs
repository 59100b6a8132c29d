using System.Globalization;
using System.Text;
using System.Text.Json;
using Hyperscope.Cli.Running;

namespace Hyperscope.Cli.Tests;

/// <summary>Machine code in, registers out.</summary>
public sealed class ExecTests
{
    [Theory]
    [InlineData("""{"code":"4801d8f4","registers":{"rax":"0x2","rbx":3}}""", "halt", "rax", "0x5")]
    [InlineData("""{"code":"4801d8f4","registers":{"rax":"0xffffffffffffffff","rbx":1}}""", "halt", "rflags", "0x57")]
    [InlineData("""{"mode":32,"code":"01d8f4","registers":{"rax":"0xffffffff","rbx":3}}""", "halt", "rax", "0x2")]
    [InlineData("""{"mode":16,"code":"01d8f4","registers":{"rax":"0x1ffff","rbx":3}}""", "halt", "rax", "0x10002")]
    [InlineData("""{"code":"48ffc0ebfb","count":1001}""", "count", "rax", "0x1f5")]
    [InlineData("""{"code":"9090f4","stopAt":"0x1002"}""", "address", "rip", "0x1002")]
    [InlineData("""{"ring":3,"code":"f4"}""", "fault", "rip", "0x1000")]
    [InlineData("""{"ring":3,"code":"668cc8 f4"}""", "fault", "rax", "0xb")]
    [InlineData("""{"code":"0f58c1f4","registers":{"xmm0":"0x3f800000","xmm1":"0x0000000040000000400000003f800000"}}""", "halt", "xmm0", "0x00000000400000004000000040000000")]
    [InlineData("""{"code":"d9e8 d9e8 dec1 f4"}""", "halt", "st0", "0x40008000000000000000")]
    [InlineData("""{"code":"0ffcc1f4","registers":{"mm0":"0x0102","mm1":"0x0304"}}""", "halt", "mm0", "0x406")]
    [InlineData("""{"code":"64488b00f4","registers":{"fs.base":"0x2000"},"memory":[{"address":"0x2000","bytes":"0807060504030201"}]}""", "halt", "rax", "0x102030405060708")]
    [InlineData("""{"code":"f348ab f4","registers":{"rdi":"0x3000","rcx":"0x100"}}""", "halt", "rcx", "0x0")]
    public void A_case_stops_as_it_should_with_the_state_it_should(string test, string stop, string register, string expected)
    {
        using JsonDocument answer = Run(test, expectOk: true);
        Assert.Equal(stop, answer.RootElement.GetProperty("stop").GetString());
        Assert.Equal(expected, answer.RootElement.GetProperty("registers").GetProperty(register).GetString());
    }

    [Theory]
    [InlineData("""{"code":"0f0b"}""", 6, null, null)]
    [InlineData("""{"code":"cd80"}""", 128, null, null)]
    [InlineData("""{"code":"f7f0","registers":{"rax":0}}""", 0, null, null)]
    [InlineData("""{"code":"488b00","registers":{"rax":"0x8000000000000000"}}""", 13, "0x0", null)]
    [InlineData("""{"code":"488900","registers":{"rax":"0x123456789000"}}""", 14, "0x2", "0x123456789000")]
    [InlineData("""{"ring":3,"code":"8800","registers":{"rax":"0x40000000"}}""", 14, "0x6", "0x40000000")]
    public void A_fault_is_reported_and_not_delivered(string test, int vector, string? errorCode, string? address)
    {
        using JsonDocument answer = Run(test, expectOk: true);
        JsonElement fault = answer.RootElement.GetProperty("fault");
        Assert.Equal(vector, fault.GetProperty("vector").GetInt32());
        Assert.Equal(errorCode, fault.TryGetProperty("errorCode", out JsonElement code) ? code.GetString() : null);
        Assert.Equal(address, fault.TryGetProperty("address", out JsonElement where) ? where.GetString() : null);
        Assert.Equal("0x1000", answer.RootElement.GetProperty("registers").GetProperty("rip").GetString());
    }

    [Theory]
    [InlineData("{", "not JSON")]
    [InlineData("[]", "a case is a JSON object")]
    [InlineData("{}", "code is missing")]
    [InlineData("""{"code":"9"}""", "code is not hex digits")]
    [InlineData("""{"code":"90","mode":48}""", "mode 48 is not 16, 32 or 64")]
    [InlineData("""{"code":"90","mode":16,"ring":3}""", "ring 3 is not 0 as real mode has it")]
    [InlineData("""{"code":"90","count":0}""", "count 0 is not from 1 to 1000000000")]
    [InlineData("""{"code":"90","at":"0xffff_"}""", "at is not a number")]
    [InlineData("""{"code":"9090","at":"0xffff"}""", "2 bytes at 0xffff are not all below the end of memory, 0x10000")]
    [InlineData("""{"code":"90","at":"0xffffffffffffffff"}""", "1 bytes at 0xffffffffffffffff are not all below")]
    [InlineData("""{"code":"90","registers":{"rxx":1}}""", "there is no register \\u0022rxx\\u0022")]
    [InlineData("""{"code":"90","registers":{"cs":"0x12345"}}""", "cs has 4 hex digits at most, not 5")]
    [InlineData("""{"code":"90","registers":{"mxcsr":"0xffff0000"}}""", "mxcsr 0xffff0000 has reserved bits")]
    [InlineData("""{"code":"90","memory":[{"address":0}]}""", "memory has an item without bytes")]
    [InlineData("""{"code":"90","show":[{"address":0,"size":9999999}]}""", "show.size 9999999 is not from 1 to 1048576")]
    [InlineData("""{"code":"90","bogus":1}""", "there is no member")]
    public void A_case_that_makes_no_sense_is_refused_with_the_reason(string test, string reason)
    {
        using var runner = new ExecRunner(1 << 16);
        string answer = runner.Run(test.AsMemory(), out bool isOk);
        Assert.False(isOk);
        Assert.Contains(reason, answer, StringComparison.Ordinal);
        using (JsonDocument.Parse(answer))
        {
        }
    }

    [Fact]
    public void Nothing_of_one_case_is_left_for_the_next()
    {
        using var runner = new ExecRunner(1 << 16);
        string plain = runner.Run("""{"code":"f4","show":[{"address":"0x2000","size":8}]}""".AsMemory(), out _);
        _ = runner.Run("""{"mode":16,"code":"b80100 8ed8 c70600205555 660f6ec0 d9e8 f9 fd f4","registers":{"rax":7,"mxcsr":"0x1f81","cr2":5}}""".AsMemory(), out bool isOk);
        Assert.True(isOk);
        Assert.Equal(plain, runner.Run("""{"code":"f4","show":[{"address":"0x2000","size":8}]}""".AsMemory(), out _));
    }

    [Fact]
    public async Task A_file_of_lines_gives_a_line_for_each_case()
    {
        string file = Path.GetTempFileName();
        var cases = new StringBuilder();
        for (int index = 0; index < 500; index++)
            cases.Append(CultureInfo.InvariantCulture, $$"""{"name":"{{index}}","code":"4801c0f4","registers":{"rax":{{index}} } }""").Append('\n');
        await File.WriteAllTextAsync(file, cases.Append("{}\n").ToString(), RunCli.Cancel);
        CliResult result = await RunCli.RunAsync($"exec {file} --lines");
        File.Delete(file);
        string[] lines = result.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(501, lines.Length);
        Assert.Equal(ExitCode.Failed, result.ExitCode); // the last one is refused
        for (int index = 0; index < 500; index++)
        {
            using var answer = JsonDocument.Parse(lines[index]);
            Assert.Equal($"{index}", answer.RootElement.GetProperty("name").GetString());
            Assert.Equal($"0x{2 * index:x}", answer.RootElement.GetProperty("registers").GetProperty("rax").GetString());
        }
    }

    private static JsonDocument Run(string test, bool expectOk)
    {
        using var runner = new ExecRunner(1 << 16);
        string answer = runner.Run(test.AsMemory(), out bool isOk);
        Assert.True(isOk == expectOk, answer);
        return JsonDocument.Parse(answer);
    }
}
